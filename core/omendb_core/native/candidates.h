/* The rows that may be among the k best of one query, while a scan goes on, and the final cut.
 *
 * Invariant: every row offered so far that belongs to the answer is in the list, and `threshold` is
 * at most the k-th best score of those rows.
 */
#ifndef OMENDB_CANDIDATES_H
#define OMENDB_CANDIDATES_H

#include "bounds.h"
#include "keys.h"
#include "rows_of.h"

typedef struct {
    uint32_t slot;
    float upper;
} omendb_candidate;

typedef struct {
    const omendb_rows *rows;
    const float *query; /* [dim] */
    float min_score;
    float threshold; /* rows that score less are out */
    best_keys best;  /* the k best lower bounds so far, without ages; in the end, scores with ages */
    omendb_candidate *list;
    size_t count, room;
    size_t most;     /* more entries than this, and the query is given up; */
    size_t patience; /* so it is when so many more rows have been offered */
} omendb_candidates;

/* For the k best of `masked` of the rows, k at least 1. False if there is no memory; candidates_free
 * in any case. */
bool candidates_begin(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, size_t k,
    float min_score, size_t masked);
void candidates_free(omendb_candidates *candidates);

typedef enum { KEPT, GIVEN_UP, NO_MEMORY } omendb_offered;

/* Take a row into account. GIVEN_UP: the bounds tell too few rows apart, or there are too many. */
omendb_offered candidates_offer(
    omendb_candidates *candidates, size_t slot, omendb_interval score);

/* Score what is left: from now on `best` holds the keys of the k best rows. */
void candidates_decide(omendb_candidates *candidates);

/* Write these in order as slots and scores; how many. */
int64_t candidates_write(omendb_candidates *candidates, int64_t *slots, float *scores);

#endif
