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

/* Which rows may score what is asked of their block, another score for each query and block. */
typedef struct {
    const omendb_kernel *kernel;
    omendb_shadow shadow;
    const float *queries; /* [count][dim] */
    size_t count;
    size_t first, block_tiles, blocks; /* block b begins at slot first + b * block_tiles * TILE_ROWS */
    const float *floors;  /* [count][blocks]; +inf: no row of it */
    const uint64_t *mask; /* whose rows: words of the whole ring */
    size_t most;
    int64_t *counts; /* out [count]: more than `most` stands for any number of rows */
    int64_t *slots;  /* out [count][most] */
} omendb_reaching;

/* False if there is no memory. */
bool rows_reaching(const omendb_reaching *asked);

#endif
