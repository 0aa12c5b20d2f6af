/* Every row scored: what is left for queries that the shadow tells too little about. */
#ifndef OMENDB_EXHAUSTIVE_H
#define OMENDB_EXHAUSTIVE_H

#include "keys.h"
#include "order.h"
#include "rows_of.h"

typedef struct {
    const float *query;   /* [dim] */
    const uint64_t *mask; /* words */
    float floor;          /* rows that score less are out: min_score, then more; */
    float min_score;      /* under decay it falls again where rows are newer */
    omendb_order order;
    double bias;          /* of the newest row of the word at hand, under decay */
    best_keys best;
} omendb_thorough;

/* Find the best rows of all `queries`; they are in `best`, unsorted. */
void score_every_row(const omendb_rows *rows, omendb_thorough *queries, size_t count);

#endif
