/* Rows into the shadow: centred, quantised, interleaved; with bounds that hold for what was stored.
 *
 * All is float32. With M = max |y|, the scale is s = M / 127, and z = y (127 / M) is y in units of s.
 * Four roundings (y; 127 / M; their product; s) put z off by at most 127 * 4 * 2**-24 < 2**-15 from
 * y / s, so |e| <= s (|z - r| + 2**-15 sqrt(dim)), whatever r is (h, too); z - r itself is exact where
 * it is below 1/2, and z - h off by 2**-24 of itself. Sums of squares err by a factor dim 2**-24 at most: INFLATED covers that and the
 * roundings that follow.  (dim <= 4096: 2**-12.)
 *
 * Rows with M outside of 2**-30 ... 2**30 would overflow or underflow here or in the tiles. Small
 * ones are stored as zeros with an error that is at least theirs; large ones get a bound of infinity,
 * so that every query keeps them.
 */
#include "shadow.h"

#include "cpu.h"

#include <math.h>
#include <string.h>

#define LANES 16
#define INFLATED (1.0f + 0x1p-11f)
#define LEAST 0x1p-30f
#define MOST 0x1p30f
/* Adding this rounds to an integer (|z| < 2**22), which is then in the low bits. */
#define ROUNDER 0x1.8p23f

#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef float few_floats __attribute__((vector_size(16)));
typedef int32_t few_integers __attribute__((vector_size(16)));

ALWAYS_INLINE few_integers larger_of(few_integers one, few_integers other)
{
    const few_integers is_larger = one > other;
    return (one & is_larger) | (other & ~is_larger);
}

typedef struct {
    float scale;
    float length; /* at least |s r| */
    float error;  /* at least |e| */
    float square; /* at most |s r|**2 (1 - 2**-19) */
} Measures;

/* The same of a row by its codes, and by their high nibbles. */
typedef struct {
    Measures fine, coarse;
    float whole; /* at most |y|**2 (1 - 2**-12) */
} Measured;

/* Sums of squares of z - r and of r, in units of s, to bounds. */
ALWAYS_INLINE Measures measured(float scale, float error, float square, size_t dim)
{
    Measures found;
    found.scale = scale;
    found.length = scale * (float)sqrt((double)square) * INFLATED;
    found.error =
        scale * (float)(sqrt((double)error) + 0x1p-14 * sqrt((double)dim)) * INFLATED;
    found.square = scale * scale * square * (1.0f - 0x1p-18f);
    return found;
}

ALWAYS_INLINE void write_factors(
    const omendb_shadow *shadow, float *factors, const Measures *found)
{
    factors[0] = found->scale;
    if (found->error == INFINITY) {
        factors[GROUP_ROWS] = INFINITY;
        factors[2 * GROUP_ROWS] = 0;
    } else if (shadow->metric != DOT) {
        factors[GROUP_ROWS] = found->error;
        factors[2 * GROUP_ROWS] = found->square - found->error * found->error * (1.0f + 0x1p-18f);
    } else {
        factors[GROUP_ROWS] = found->length;
        factors[2 * GROUP_ROWS] = found->error;
    }
}

/* The high nibbles of a row's codes, and what goes with them. */
ALWAYS_INLINE void write_coarse(
    const omendb_shadow *shadow, size_t group, size_t place, const Measured *found,
    const uint8_t *row)
{
    float *factors = shadow->coarse + group * COARSE_FACTORS * GROUP_ROWS + place;
    const size_t steps = shadow_coarse_steps(shadow->dim);
    const size_t step_bytes = SWEPT_ROWS * STEP_DIMS, slot = group * GROUP_ROWS + place;
    uint8_t *to = shadow->nibbles + slot / SWEPT_ROWS * steps * step_bytes + slot % SWEPT_ROWS * STEP_DIMS;
    uint8_t packed[OMENDB_MAX_DIM / 2 + STEP_DIMS];
    for (size_t i = 0; i < steps; i++) {
        uint32_t first, second;
        memcpy(&first, row + i * COARSE_DIMS, sizeof first);
        memcpy(&second, row + i * COARSE_DIMS + STEP_DIMS, sizeof second);
        first = (first >> 4 & 0x0f0f0f0f) | (second & 0xf0f0f0f0);
        memcpy(packed + i * STEP_DIMS, &first, sizeof first);
    }
    for (size_t i = 0; i < steps; i++) {
        memcpy(to + i * step_bytes, packed + i * STEP_DIMS, STEP_DIMS);
    }
    write_factors(shadow, factors, &found->coarse);
    factors[3 * GROUP_ROWS] = 0;
    if (shadow->metric != DOT && found->coarse.error < INFINITY)
        factors[3 * GROUP_ROWS] =
            found->whole - found->coarse.error * found->coarse.error * (1.0f + 0x1p-18f) * 0x1p-18f;
}

#define WIDTH 4
#define TARGET
#define NAME(what) what##_portable
#include "shadow_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

#if defined(__x86_64__)

#define WIDTH 8
#define TARGET __attribute__((target("avx2")))
#define NAME(what) what##_avx2
#include "shadow_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

#define WIDTH 16
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define NAME(what) what##_avx512
#include "shadow_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

#endif

void shadow_write(const omendb_shadow *shadow, size_t first, const float *rows, size_t count)
{
#if defined(__x86_64__)
    if (cpu_has_avx512())
        write_avx512(shadow, first, rows, count);
    else if (cpu_has_avx2())
        write_avx2(shadow, first, rows, count);
    else
#endif
        write_portable(shadow, first, rows, count);
}
