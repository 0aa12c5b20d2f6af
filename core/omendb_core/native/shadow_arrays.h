/* A shadow as Python hands it over. */
#ifndef OMENDB_SHADOW_ARRAYS_H
#define OMENDB_SHADOW_ARRAYS_H

#include "buffers.h"
#include "shadow.h"

/* Take the arrays of a shadow for a ring of so many slots, whose rows have centre's dimensions;
 * codes and factors to be read, or to be written to. */
bool take_shadow(
    taken_arrays *taken, PyObject *codes, PyObject *factors, PyObject *centre, Py_ssize_t slots,
    int metric, enum access access, omendb_shadow *out);

/* Take what stands beside them, (nibbles, coarse); None: nothing does. */
bool take_nibbles(
    taken_arrays *taken, PyObject *object, enum access access, omendb_shadow *shadow);

#endif
