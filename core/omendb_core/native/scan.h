/* The best rows of a ring for many queries; see scan.c. */
#ifndef OMENDB_SCAN_H
#define OMENDB_SCAN_H

#include "candidates.h"
#include "tiles.h"

typedef struct {
    const omendb_kernel *kernel;
    omendb_shadow shadow;
    omendb_rows rows;
    const float *queries; /* [count][dim] */
    size_t count;
    const int64_t *k;         /* [count] */
    const float *min_scores;  /* [count] */
    const uint64_t *masks;    /* [mask_count][words] */
    size_t mask_count, words; /* words: of 64 slots, tail bits 0 */
    const int64_t *mask_of;   /* [count] */
    const omendb_times *times; /* NULL: by score; else by decay, */
    const double *half_lives; /* [count], seconds */
    uint32_t *counts;         /* out [count] */
    int64_t *slots;           /* out [sum of k], query after query */
    float *scores;            /* out [sum of k] */
    double *values;           /* out [sum of k], under decay */
    size_t threads; /* at most so many share a query that is alone */
    size_t *thorough;         /* out: for how many queries every row was scored */
} omendb_scan;

/* Answer; the number of rows in slots and scores, or -1 if there is no memory. */
int64_t omendb_top_k(const omendb_scan *scan);

#endif
