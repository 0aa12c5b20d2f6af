/* The tile in C for any processor, in vectors of 16 bytes, which SSE2 and NEON have.
 *
 * As integers of 16 bits: an even byte of the rows is moved up and down again, an odd one down, so
 * that both keep their signs. Even and odd products together are 2 * 128 * 127 < 2**15 at most; two
 * neighbours of such sums are one row's. (Plain loops: GCC 12 leaves them scalar, three times as slow.)
 */
#include "tiles.h"

#include <math.h>
#include <string.h>

typedef uint8_t bytes __attribute__((vector_size(16)));
typedef uint16_t words __attribute__((vector_size(16)));
typedef int16_t signed_words __attribute__((vector_size(16)));
typedef uint32_t longs __attribute__((vector_size(16)));
typedef int32_t signed_longs __attribute__((vector_size(16)));

typedef float floats __attribute__((vector_size(16)));

#define QUARTERS 4 /* of a group */
#define QUARTER_ROWS (GROUP_ROWS / QUARTERS)
#define QUERIES 2
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The even and the odd ones of 16 signed bytes. */
ALWAYS_INLINE void take_apart(words pairs, signed_words *even, signed_words *odd)
{
    *even = (signed_words)(pairs << 8) >> 8;
    *odd = (signed_words)pairs >> 8;
}

/* D of count queries, the first at codes, and the 16 rows of a group. */
ALWAYS_INLINE void group_dots(
    const uint8_t *rows, const int32_t *codes, size_t steps, const int count,
    signed_longs sums[QUERIES][QUARTERS])
{
    for (int i = 0; i < count; i++)
        for (int quarter = 0; quarter < QUARTERS; quarter++)
            sums[i][quarter] = (signed_longs){0};
    for (size_t step = 0; step < steps; step++) {
        signed_words even[QUARTERS], odd[QUARTERS];
        for (int quarter = 0; quarter < QUARTERS; quarter++) {
            bytes r;
            memcpy(&r, rows + step * STEP_BYTES + quarter * (STEP_BYTES / QUARTERS), sizeof r);
            take_apart((words)(r ^ 128), &even[quarter], &odd[quarter]);
        }
        for (int i = 0; i < count; i++) {
            const uint32_t packed = (uint32_t)codes[(size_t)i * steps + step];
            signed_words p, q;
            take_apart((words)(longs){packed, packed, packed, packed}, &p, &q);
            for (int quarter = 0; quarter < QUARTERS; quarter++) {
                signed_words pairs = even[quarter] * p + odd[quarter] * q;
                sums[i][quarter] += (signed_longs)((longs)pairs << 16) >> 16;
                sums[i][quarter] += (signed_longs)pairs >> 16;
            }
        }
    }
}

/* What one query lets through; see tiles.h. */
typedef struct {
    float alpha, beta, theta;
    int second; /* which of a row's factors beta is for */
} Aimed;

/* Which of 4 rows may pass: all but those that fall short by more than what is lost by not fusing,
 * a few 2**-24 of each term. A fused step is a call where the processor has none. */
static signed_longs may_pass(const float *factors, const Aimed *aimed, signed_longs dots)
{
    floats terms[FACTORS], sum = {0}, size = {0};
    memcpy(&terms[0], factors, sizeof *terms);
    memcpy(&terms[1], factors + GROUP_ROWS, sizeof *terms);
    memcpy(&terms[2], factors + aimed->second * GROUP_ROWS, sizeof *terms);
    terms[0] *= __builtin_convertvector(dots, floats);
    terms[1] *= aimed->alpha;
    terms[2] *= aimed->beta;
    for (int i = 0; i < FACTORS; i++) {
        sum += terms[i];
        size += (floats)((longs)terms[i] & INT32_MAX);
    }
    return ~(signed_longs)(sum + (size * 0x1p-20f + 0x1p-120f) < aimed->theta);
}

static bool passes(const float *factors, const Aimed *aimed, int32_t dot)
{
    float value = factors[0] * (float)dot;
    value = fmaf(factors[GROUP_ROWS], aimed->alpha, value);
    value = fmaf(factors[aimed->second * GROUP_ROWS], aimed->beta, value);
    return !(value < aimed->theta);
}

/* Which of the rows of a group pass, as bits. */
static uint64_t passing(const float *factors, const Aimed *aimed, const signed_longs dots[QUARTERS])
{
    uint64_t found = 0;
    for (int quarter = 0; quarter < QUARTERS; quarter++) {
        const float *some = factors + quarter * QUARTER_ROWS;
        signed_longs may = may_pass(some, aimed, dots[quarter]);
        for (int n = 0; n < QUARTER_ROWS; n++)
            if (may[n] && passes(some + n, aimed, dots[quarter][n]))
                found |= (uint64_t)1 << (quarter * QUARTER_ROWS + n);
    }
    return found;
}

ALWAYS_INLINE void part(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, const int count,
    int group, uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    signed_longs sums[QUERIES][QUARTERS];
    group_dots(
        rows->codes[group], queries->codes + first * queries->steps, queries->steps, count, sums);
    for (int i = 0; i < count; i++) {
        size_t query = first + (size_t)i;
        Aimed aimed = {queries->alpha[query], queries->beta[query], queries->theta[query], 2};
        memcpy(dots[i] + group * GROUP_ROWS, sums[i], sizeof sums[i]);
        hits[i] |= passing(rows->factors[group], &aimed, sums[i]) << (group * GROUP_ROWS);
    }
}

void tile_portable(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    for (size_t i = 0; i < count; i++)
        hits[i] = 0;
    for (int group = 0; group < TILE_GROUPS; group++) {
        size_t i = 0;
        for (; i + QUERIES <= count; i += QUERIES)
            part(rows, queries, first + i, QUERIES, group, hits + i, dots + i);
        if (i < count)
            part(rows, queries, first + i, 1, group, hits + i, dots + i);
    }
}

/* The even and the odd ones of 16 nibbles, low or high ones of bytes. */
ALWAYS_INLINE void take_nibbles(bytes both, int shift, signed_words *even, signed_words *odd)
{
    words pairs = (words)(both >> shift & 15);
    *even = (signed_words)(pairs & 0xff);
    *odd = (signed_words)(pairs >> 8);
}

/* Sum of h p over the rows of a group: in 16 bits no more than 4 * 15 * 127. */
ALWAYS_INLINE void add_up_nibbles(
    const uint8_t *rows, const omendb_sweeping *query, signed_longs sums[QUARTERS])
{
    for (int quarter = 0; quarter < QUARTERS; quarter++)
        sums[quarter] = (signed_longs){0};
    for (size_t step = 0; step < query->steps; step++) {
        for (int quarter = 0; quarter < QUARTERS; quarter++) {
            bytes both;
            signed_words pairs = {0}, even, odd, p, q;
            const size_t place = step * TILE_GROUPS * STEP_BYTES + quarter * (STEP_BYTES / QUARTERS);
            memcpy(&both, rows + place, sizeof both);
            for (int half = 0; half < 2; half++) {
                const uint32_t packed = (uint32_t)query->codes[2 * step + (size_t)half];
                take_apart((words)(longs){packed, packed, packed, packed}, &p, &q);
                take_nibbles(both, 4 * half, &even, &odd);
                pairs += even * p + odd * q;
            }
            sums[quarter] += (signed_longs)((longs)pairs << 16) >> 16;
            sums[quarter] += (signed_longs)pairs >> 16;
        }
    }
}

void sweep_portable(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits)
{
    const Aimed aimed = {query->alpha, query->beta, query->theta, query->second};
    for (size_t at = 0; at < tiles * TILE_GROUPS; at++) {
        const size_t tile = at / TILE_GROUPS, group = at % TILE_GROUPS;
        signed_longs sums[QUARTERS];
        if (group == 0)
            hits[tile] = 0;
        add_up_nibbles(
            nibbles + (tile * query->steps * TILE_GROUPS + group) * STEP_BYTES, query, sums);
        for (int quarter = 0; quarter < QUARTERS; quarter++)
            sums[quarter] = sums[quarter] * NIBBLE_STEP + query->start;
        hits[tile] |= passing(factors + at * COARSE_FACTORS * GROUP_ROWS, &aimed, sums)
                      << (group * GROUP_ROWS);
    }
}
