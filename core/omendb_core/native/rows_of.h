/* The rows of a ring, to be scored and ordered. */
#ifndef OMENDB_ROWS_OF_H
#define OMENDB_ROWS_OF_H

#include "lanes.h"

#include <stdbool.h>

typedef struct {
    const omendb_lanes *lanes;
    const float *vectors; /* [slots][dim] */
    size_t slots, dim;
    size_t used;   /* slots written so far */
    size_t oldest; /* the slot that the next row will overwrite: ages are counted from it */
    bool is_l2;
} omendb_rows;

static inline uint32_t age_of(const omendb_rows *rows, size_t slot)
{
    return (uint32_t)(slot >= rows->oldest ? slot - rows->oldest : slot + rows->slots - rows->oldest);
}

static inline int64_t slot_of(const omendb_rows *rows, uint32_t age)
{
    size_t slot = age + rows->oldest;
    return (int64_t)(slot >= rows->slots ? slot - rows->slots : slot);
}

#endif
