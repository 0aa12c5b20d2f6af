/* What orders the rows of a query: the score, or under decay (PROTOCOL section 5) the rank
 * log2(score) + t / half_life, t being the row's time.
 *
 * The value of a row is a float64 either way. Under decay a row of a score that is not above 0, without a
 * time, or whose t / half_life is not finite has none (NaN), and is left out.
 */
#ifndef OMENDB_ORDER_H
#define OMENDB_ORDER_H

#include "functions.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Times by slot; one of the arrays is there. A time in seconds is the number over per_second. */
typedef struct {
    const int64_t *integers; /* [slots]; INT64_MIN: none */
    const double *numbers;   /* [slots]; NaN: none */
    double per_second;
    bool never_fall; /* of live rows, along the seqs */
    const double *latest; /* [words] no number of a word's slots is greater; NULL: not known */
    const omendb_functions *functions;
} omendb_times;

typedef struct {
    const omendb_times *times; /* NULL: by score */
    double half_life;          /* seconds */
    double inverse;            /* about 1 / (half_life times->per_second) */
} omendb_order;

/* Have the time of a row on its way into the cache. */
static inline void fetch_time(const omendb_times *times, size_t slot)
{
    const char *first = times->integers != NULL ? (const char *)times->integers : (const char *)times->numbers;
    __builtin_prefetch(first + slot * sizeof(double));
}

static inline omendb_order order_of(const omendb_times *times, double half_life)
{
    return (omendb_order){times, half_life, 1 / (half_life * times->per_second)};
}

static inline bool is_by_score(const omendb_order *order)
{
    return order->times == NULL;
}

double decayed_value(const omendb_order *order, size_t slot, float score);

static inline double order_value(const omendb_order *order, size_t slot, float score)
{
    return is_by_score(order) ? score : decayed_value(order, slot, score);
}

/* What the value of a row is at most by the most that its score is, NaN if it has none; and what it is at
 * least, -inf where it may have none. */
double decayed_most(const omendb_order *order, size_t slot, float upper);
double decayed_least(const omendb_order *order, size_t slot, float lower);

/* The time in seconds of a row; NaN if it has none. */
double time_of(const omendb_times *times, size_t slot);

/* The latest time in seconds of `count` rows from first on, -inf if none has one. */
double latest_time(const omendb_times *times, size_t first, size_t count);

/* Under decay: a score, above 0, that every row has whose value is at least `value` and whose time is at
 * most that, over the half-life, which `bias` is. */
float decayed_reach(const omendb_order *order, double value, double bias);

#endif
