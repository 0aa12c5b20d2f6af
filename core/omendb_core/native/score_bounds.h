/* Between what the scores of all rows of a range lie, by the shadow; see score_bounds.c. */
#ifndef OMENDB_SCORE_BOUNDS_H
#define OMENDB_SCORE_BOUNDS_H

#include "bounds.h"

typedef struct {
    const omendb_kernel *kernel;
    omendb_shadow shadow;
    const float *queries; /* [count][dim] */
    size_t count;
    size_t first, tiles; /* slots first … first + tiles * TILE_ROWS - 1, first being a multiple too */
    float *lower, *upper; /* out [count][tiles * TILE_ROWS]; of slots without a row: anything */
} omendb_score_bounds;

/* False if there is no memory. */
bool score_bounds(const omendb_score_bounds *asked);

#endif
