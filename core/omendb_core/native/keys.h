/* (score, age) as one integer that orders as answers do, and the best of many of them.
 *
 * A larger key is a better row: the score's bits, made orderable, above the row's age (its seq less
 * the oldest's), so all keys of a ring are distinct.
 */
#ifndef OMENDB_KEYS_H
#define OMENDB_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t key_of(float score, uint32_t age)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | age;
}

static inline float score_in(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

static inline uint32_t age_in(uint64_t key)
{
    return (uint32_t)key;
}

/* The best of all keys offered, the least of them first (a heap). */
typedef struct {
    uint64_t *keys; /* [most] */
    size_t held, most;
} best_keys;

/* Keep key if it is among the best; whether the least of `most` is another one now. */
bool best_offer(best_keys *best, uint64_t key);

void sort_descending(uint64_t *keys, size_t count);

#endif
