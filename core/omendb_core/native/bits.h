/* Numbers as bits, and choices between them that leave no branch, which keeps compilers from making
 * vectors of a loop. */
#ifndef OMENDB_BITS_H
#define OMENDB_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) int64_t bits_of(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline __attribute__((always_inline)) double of_bits(int64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline __attribute__((always_inline)) double choose(
    bool is_first, double first, double second)
{
    const int64_t mask = -(int64_t)is_first;
    return of_bits((bits_of(first) & mask) | (bits_of(second) & ~mask));
}

#endif
