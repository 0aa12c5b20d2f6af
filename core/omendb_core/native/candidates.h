/* The rows that may be among the k best of one query, while a scan goes on, and the final cut.
 *
 * Invariant: every row offered so far that belongs to the answer is in the list, and `threshold` is
 * at most the k-th best value (order.h) of those rows, and of those that others were offered for the same
 * query (candidates_learn).
 */
#ifndef OMENDB_CANDIDATES_H
#define OMENDB_CANDIDATES_H

#include "bounds.h"
#include "keys.h"
#include "levels.h"
#include "order.h"
#include "rows_of.h"

typedef struct {
    double upper; /* less than the threshold: out */
    double lower; /* -inf: it may be out whatever the threshold */
    uint32_t slot;
    float score; /* NaN: it is not scored yet; else both bounds are its value, or -inf if it is out */
} omendb_candidate;

typedef struct {
    const omendb_rows *rows;
    const float *query; /* [dim] */
    omendb_order order;
    float min_score;
    double threshold; /* rows of a smaller value are out */
    best_keys best;   /* in the end: the k best rows */
    uint32_t *places; /* [k] in the list, of those that are scored */
    omendb_candidate *list;
    size_t count, room;
    /* Lower bounds in the list, once there are k: `above` of them in the level `lowest` and above. They
     * are counted anew when so many are above, and all in the last one. */
    omendb_levels levels;
    size_t above, lowest, renewed_at;
    size_t sure; /* how many there were, until there are levels */
    size_t most;     /* when a list with room for as many is full of rows that matter, the query is given up; */
    size_t patience; /* so it is when so many more rows have been offered */
} omendb_candidates;

/* For the k best of `masked` of the rows, k at least 1. False if there is no memory; candidates_free
 * in any case. */
bool candidates_begin(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, omendb_order order,
    size_t k, float min_score, size_t masked);
/* The same for rows that come scored (candidates_take) and in no other way. */
bool candidates_begin_scored(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, omendb_order order,
    size_t k, float min_score);
void candidates_free(omendb_candidates *candidates);

typedef enum { KEPT, GIVEN_UP, NO_MEMORY } omendb_offered;

/* The least score of a row that may still be among the best; under decay of one whose time over the
 * half-life is at most bias. */
static inline float candidates_reach(const omendb_candidates *candidates, double bias)
{
    if (is_by_score(&candidates->order))
        return (float)candidates->threshold;
    float reach = decayed_reach(&candidates->order, candidates->threshold, bias);
    return reach > candidates->min_score ? reach : candidates->min_score;
}

/* Take a row into account. GIVEN_UP: the bounds tell too few rows apart, or there are too many. */
omendb_offered candidates_offer(
    omendb_candidates *candidates, size_t slot, omendb_interval score);

/* Take a row of this score, if it is among the best; whether rows need more from now on. For who scores
 * rows: it goes straight to `best`. */
bool candidates_take(omendb_candidates *candidates, size_t slot, float score);

/* No row of a smaller value than this is among the best, as somebody else has found. */
static inline void candidates_learn(omendb_candidates *candidates, double threshold)
{
    if (threshold > candidates->threshold)
        candidates->threshold = threshold;
}

/* Take what others, for the same query, have kept of other rows. False if there is no memory. */
bool candidates_merge(omendb_candidates *candidates, const omendb_candidates *others);

/* Score what is left: from now on `best` holds the k best rows. */
void candidates_decide(omendb_candidates *candidates);

/* Write these in order as slots and scores, and under decay as values; how many. */
int64_t candidates_write(
    omendb_candidates *candidates, int64_t *slots, float *scores, double *values);

#endif
