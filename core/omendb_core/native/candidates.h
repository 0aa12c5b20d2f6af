/* The rows that may be among the k best of one query, while a scan goes on, and the final cut.
 *
 * Invariant: every row offered so far that belongs to the answer is in the list, and `threshold` is
 * at most the k-th best score of those rows.
 */
#ifndef OMENDB_CANDIDATES_H
#define OMENDB_CANDIDATES_H

#include "bounds.h"
#include "lanes.h"

typedef struct {
    uint32_t slot;
    float upper;
} omendb_candidate;

typedef struct {
    size_t k;
    float min_score;
    float threshold; /* rows that score less are out */
    float *best;     /* [k] the best lower bounds so far, the least of them first (a heap) */
    size_t held;     /* of best */
    omendb_candidate *list;
    size_t count, room;
    size_t most;     /* more entries than this, and the query is given up; */
    size_t patience; /* so it is when so many more rows have been offered */
} omendb_candidates;

/* What the rows of a ring are, to be scored and ordered. */
typedef struct {
    const omendb_lanes *lanes;
    const float *vectors; /* [slots][dim] */
    size_t slots, dim;
    size_t oldest; /* the slot that the next row will overwrite: ages are counted from it */
    bool is_l2;
} omendb_rows;

/* For the k best of so many rows, k at least 1. False if there is no memory; candidates_free in any
 * case. */
bool candidates_begin(omendb_candidates *candidates, size_t k, float min_score, size_t rows);
void candidates_free(omendb_candidates *candidates);

typedef enum { KEPT, GIVEN_UP, NO_MEMORY } omendb_offered;

/* Take a row into account. GIVEN_UP: the bounds tell too few rows apart, or there are too many. */
omendb_offered candidates_offer(
    omendb_candidates *candidates, size_t slot, omendb_interval score);

/* Score what is left; the best k at most, in order, into slots and scores; how many, or -1 if there
 * is no memory. */
int64_t candidates_decide(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, int64_t *slots,
    float *scores);

#endif
