/* Queries for which rows are scored one by one, without a look at the shadow. */
#ifndef OMENDB_SCAN_SCORED_H
#define OMENDB_SCAN_SCORED_H

#include "scan_work.h"

/* Have the best rows of the mask that these seekers share, at least one, in `best` of each.
 * False if there is no memory. */
bool scan_score(const scan_work *work, scan_seeker *const *seekers, size_t count);

#endif
