/* See rounding.h.
 *
 * Rounding a score to float32 hides what was lost before in all but one of 2**29 cases, so numbers are
 * chosen here for which it does not.
 */
#include "rounding.h"

#include <math.h>
#include <string.h>

#define LANES 8
#define DIM 27
#define TRIALS 16
/* Of what functions_round_as_defined computes; a test has it from numpy. */
#define RESTS_DIGEST 0x1d3ee8060856af02u

/* Numbers of many magnitudes and full mantissas: sums of their squares depend on the order. */
static void fill(float *values, size_t count, uint32_t *state)
{
    for (size_t i = 0; i < count; i++) {
        *state = *state * 1664525u + 1013904223u;
        float mantissa = (float)(*state >> 8) * 0x1p-24f + 0.5f;
        values[i] = ldexpf(*state & 64 ? mantissa : -mantissa, (int)(*state & 7));
    }
}

/* Sums in their order. Each operation passes through memory, so that nothing is moved past it. */
static bool adds_in_order(const omendb_lanes *lanes, const float *x)
{
    volatile double sums[LANES] = {0};
    for (size_t i = 0; i < DIM; i++) {
        volatile double square = x[i];
        square *= square;
        sums[i % LANES] += square;
    }
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            sums[i] += sums[i + half];
    return lanes->norm(x, DIM) == sqrt(sums[0]);
}

/* Divided, not multiplied by an inverse: quotients that lie on the border of two float32. */
static bool divides(const omendb_lanes *lanes, const float *x)
{
    for (size_t i = 0; i < DIM; i++) {
        float divided;
        volatile double border = ((double)fabsf(x[i]) + 1) * 0x1p24;
        border = (double)(int64_t)border * 2 + 1; /* an odd number of 25 bits and a few more */
        while (border >= 0x1p25)
            border = (double)((int64_t)border / 4 * 2 + 1);
        volatile double length = x[i] / border, quotient = x[i] / length;
        lanes->divide(x + i, length, 1, &divided);
        if (divided != (float)quotient)
            return false;
    }
    return true;
}

/* The square of 2**27 + 1 has 55 bits. Rounded to 53 before it is added to the squares of the others,
 * the sum is 2**31 (2**25 + 2**22 + 1), halfway between two float32; fused, it lies above. */
static bool rounds_squares(const omendb_lanes *lanes)
{
    const float *rows[LANES_TILE], *queries[LANES_TILE];
    const float from[] = {164382208, 300944, 9376, 96, 0x1p27f}, to[] = {4, 6, 12, 0, -1};
    enum { COUNT = sizeof from / sizeof *from };
    float x[COUNT * LANES] = {0}, q[COUNT * LANES] = {0}, tile[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < COUNT; i++)
        x[i * LANES] = from[i], q[i * LANES] = to[i];
    for (size_t i = 0; i < LANES_TILE; i++)
        rows[i] = x, queries[i] = q;
    const float expected = -0x1p32f * (0x1p23f + 0x1p21f);
    lanes->score_tile(1, rows, queries, COUNT * LANES, tile);
    return lanes->score(1, x, q, COUNT * LANES) == expected && tile[0][0] == expected;
}

bool rounds_as_defined(const omendb_lanes *lanes)
{
    uint32_t state = 1;
    for (int trial = 0; trial < TRIALS; trial++) {
        float x[DIM];
        fill(x, DIM, &state);
        if (!adds_in_order(lanes, x) || !divides(lanes, x))
            return false;
    }
    return rounds_squares(lanes);
}

/* The lower parts of sums of two keep what the upper ones lose: there each operation tells. */
bool functions_round_as_defined(const omendb_functions *functions)
{
    double x[TRIALS], rests[2 * TRIALS];
    uint32_t state = 1;
    for (int i = 0; i < TRIALS; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (double)state * 0x1p-27 + 0x1p-10;
    }
    functions->rests(x, TRIALS, rests, rests + TRIALS);
    uint64_t digest = 0, bits;
    for (int i = 0; i < 2 * TRIALS; i++) {
        memcpy(&bits, &rests[i], sizeof bits);
        digest = (digest ^ bits) * 0x100000001b3u;
    }
    return digest == RESTS_DIGEST;
}
