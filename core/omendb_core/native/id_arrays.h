/* A table of ids as Python hands it over. */
#ifndef OMENDB_ID_ARRAYS_H
#define OMENDB_ID_ARRAYS_H

#include "buffers.h"
#include "id_table.h"

/* Take (keys uint64 (capacity,), places uint32 (size,), salts uint64 (3,)), to be written to. */
bool take_table(taken_arrays *taken, PyObject *arrays, id_table *table);

#endif
