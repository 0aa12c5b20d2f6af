/* One query by the high nibbles of the shadow; see scan_sweep.c. */
#ifndef OMENDB_SCAN_SWEEP_H
#define OMENDB_SCAN_SWEEP_H

#include "scan_work.h"

/* Whether a query that makes a pass by itself goes by the nibbles first. */
bool scan_may_sweep(const scan_work *work, size_t place);

/* Make that pass. False if there is no memory. */
bool scan_sweep(scan_work *work, size_t place);

#endif
