/* New rows against standing queries: the scan with its roles swapped; see match.c. */
#ifndef OMENDB_MATCH_H
#define OMENDB_MATCH_H

#include "lanes.h"
#include "tiles.h"

typedef struct {
    uint32_t row, query;
    float score;
} omendb_pair;

typedef struct {
    const omendb_kernel *kernel;
    const omendb_lanes *lanes;
    omendb_shadow shadow; /* of the queries */
    const float *queries; /* [slots of the shadow, or fewer][dim] */
    const float *floors;  /* [query_count]: -inf takes every row, +inf none */
    const int64_t *most;  /* [query_count] */
    size_t query_count;
    const float *rows; /* [row_count][dim] */
    size_t row_count;
    omendb_pair *pairs; /* out: every pair that reaches its query's floor, by row, then query; */
    size_t pair_count;  /* the caller frees it */
    bool *is_crowded;   /* out [query_count]: more rows than `most`; no pairs of theirs */
} omendb_match;

/* False if there is no memory. */
bool omendb_pairs_above(omendb_match *match);

#endif
