/* Rows by value, then by age, and the best of many of them.
 *
 * The value is what orders rows (order.h): never NaN. The age is the row's seq less the oldest's, so
 * no two rows of a ring are equal.
 */
#ifndef OMENDB_KEYS_H
#define OMENDB_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    double value;
    uint32_t age;
    float score;
} row_key;

static inline bool is_better(row_key one, row_key other)
{
    return one.value > other.value || (one.value == other.value && one.age > other.age);
}

/* The best of all keys offered, the least of them first (a heap). */
typedef struct {
    row_key *keys; /* [most] */
    size_t held, most;
} best_keys;

/* Keep key if it is among the best; whether the least of `most` is another one now. */
bool best_offer(best_keys *best, row_key key);

/* The best first. */
void sort_keys(row_key *keys, size_t count);

#endif
