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
    float min_score;
    float threshold; /* rows that score less are out */
    best_keys best;  /* the k best lower bounds so far, and no ages */
    omendb_candidate *list;
    size_t count, room;
    size_t most;     /* more entries than this, and the query is given up; */
    size_t patience; /* so it is when so many more rows have been offered */
} omendb_candidates;

/* For the k best of so many rows, k at least 1. False if there is no memory; candidates_free in any
 * case. */
bool candidates_begin(omendb_candidates *candidates, size_t k, float min_score, size_t rows);
void candidates_free(omendb_candidates *candidates);

typedef enum { KEPT, GIVEN_UP, NO_MEMORY } omendb_offered;

/* Take a row into account. GIVEN_UP: the bounds tell too few rows apart, or there are too many. */
omendb_offered candidates_offer(
    omendb_candidates *candidates, size_t slot, omendb_interval score);

/* Write rows by their sorted keys as slots and scores; how many. */
int64_t candidates_write(
    const omendb_rows *rows, const uint64_t *keys, size_t count, int64_t *slots, float *scores);

/* Score what is left; the best k at most, in order, into slots and scores; how many, or -1 if there
 * is no memory. */
int64_t candidates_decide(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, int64_t *slots,
    float *scores);

#endif
