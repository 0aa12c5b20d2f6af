/* Rows into the shadow: centred, quantised, interleaved; with bounds that hold for what was stored.
 *
 * All is float32. With M = max |y|, the scale is s = M / 127, and z = y (127 / M) is y in units of s.
 * Four roundings (y; 127 / M; their product; s) put z off by at most 127 * 4 * 2**-24 < 2**-15 from
 * y / s, so |e| <= s (|z - r| + 2**-15 sqrt(dim)), whatever r is; z - r itself is exact where it is
 * below 1/2. Sums of squares err by a factor dim 2**-24 at most: INFLATED covers that and the
 * roundings that follow.  (dim <= 4096: 2**-12.)
 *
 * Rows with M outside of 2**-30 ... 2**30 would overflow or underflow here or in the tiles. Small
 * ones are stored as zeros with an error that is at least theirs; large ones get a bound of infinity,
 * so that every query keeps them.
 */
#include "shadow.h"

#include <math.h>
#include <string.h>

#define LANES 16
#define INFLATED (1.0f + 0x1p-11f)
#define LEAST 0x1p-30f
#define MOST 0x1p30f
/* Adding this rounds to an integer (|z| < 2**22), which is then in the low bits. */
#define ROUNDER 0x1.8p23f

#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef struct {
    float scale;
    float length; /* at least |s r| */
    float error;  /* at least |e| */
    float square; /* at most |s r|**2 (1 - 2**-19) */
} Measures;

/* y = x - c, zeros up to whole lanes; the largest |y|. */
ALWAYS_INLINE float centred(const float *x, const float *centre, size_t dim, float *y)
{
    int32_t most[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        for (int j = 0; j < LANES; j++)
            y[i + j] = x[i + j] - centre[i + j];
        int32_t bits[LANES];
        memcpy(bits, y + i, sizeof bits);
        for (int j = 0; j < LANES; j++) {
            int32_t magnitude = bits[j] & 0x7FFFFFFF; /* orders as the numbers do */
            most[j] = most[j] > magnitude ? most[j] : magnitude;
        }
    }
    for (; i % LANES != 0 || i < dim; i++) {
        y[i] = i < dim ? x[i] - centre[i] : 0;
        int32_t magnitude;
        memcpy(&magnitude, y + i, sizeof magnitude);
        magnitude &= 0x7FFFFFFF;
        most[i % LANES] = most[i % LANES] > magnitude ? most[i % LANES] : magnitude;
    }
    for (int j = 1; j < LANES; j++)
        most[0] = most[0] > most[j] ? most[0] : most[j];
    float largest;
    memcpy(&largest, most, sizeof largest);
    return largest;
}

/* r + 128 of the values of y, whose largest is `largest`, and what they measure. */
ALWAYS_INLINE Measures quantised(const float *y, float largest, size_t dim, uint8_t *codes)
{
    float errors[LANES] = {0};
    int32_t squares[LANES] = {0};
    float scale = largest / 127.0f, inverse = 127.0f / largest;
    for (size_t i = 0; i < dim; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float z = y[i + j] * inverse;
            float rounded = (z + ROUNDER) - ROUNDER;
            float error = z - rounded;
            int32_t r = (int32_t)rounded;
            errors[j] += error * error;
            squares[j] += r * r;
            codes[i + j] = (uint8_t)(r + 128);
        }
    }
    double error = 0, square = 0;
    for (int j = 0; j < LANES; j++) {
        error += errors[j];
        square += squares[j];
    }
    Measures found;
    found.scale = scale;
    found.length = scale * (float)sqrt(square) * INFLATED;
    found.error = scale * (float)(sqrt(error) + 0x1p-14 * sqrt((double)dim)) * INFLATED;
    found.square = scale * scale * (float)square * (1.0f - 0x1p-18f);
    return found;
}

ALWAYS_INLINE void write_row(const omendb_shadow *shadow, size_t slot, const float *x, float *y)
{
    size_t dim = shadow->dim, steps = shadow_steps(dim);
    size_t group = slot / GROUP_ROWS, place = slot % GROUP_ROWS;
    uint8_t *codes = shadow->codes + group * steps * STEP_BYTES + place * STEP_DIMS;
    float *factors = shadow->factors + group * FACTORS * GROUP_ROWS + place;
    float largest = centred(x, shadow->centre, dim, y);
    Measures found = {0, 0, 0, 0};
    uint8_t row[OMENDB_MAX_DIM + LANES];
    if (largest >= LEAST && largest <= MOST) {
        found = quantised(y, largest, dim, row);
    } else {
        memset(row, 128, dim + LANES);
        if (largest > 0)
            found.error = largest < LEAST ? LEAST * (float)sqrt((double)dim) * INFLATED : INFINITY;
    }
    for (size_t i = dim; i < steps * STEP_DIMS; i++)
        row[i] = 128;
    for (size_t i = 0; i < steps; i++)
        memcpy(codes + i * STEP_BYTES, row + i * STEP_DIMS, STEP_DIMS);
    factors[0] = found.scale;
    if (found.error == INFINITY) {
        factors[GROUP_ROWS] = INFINITY;
        factors[2 * GROUP_ROWS] = 0;
    } else if (shadow->metric != DOT) {
        factors[GROUP_ROWS] = found.error;
        factors[2 * GROUP_ROWS] = found.square - found.error * found.error * (1.0f + 0x1p-18f);
    } else {
        factors[GROUP_ROWS] = found.length;
        factors[2 * GROUP_ROWS] = found.error;
    }
}

#define WRITE(name, attributes)                                                                    \
    attributes static void name(                                                                   \
        const omendb_shadow *shadow, size_t first, const float *rows, size_t count)                \
    {                                                                                              \
        float y[OMENDB_MAX_DIM + LANES];                                                           \
        for (size_t i = 0; i < count; i++)                                                         \
            write_row(shadow, first + i, rows + i * shadow->dim, y);                               \
    }

WRITE(write_portable, )
#if defined(__x86_64__)
WRITE(write_avx2, __attribute__((target("avx2"))))
WRITE(write_avx512, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))))
#endif

void shadow_write(const omendb_shadow *shadow, size_t first, const float *rows, size_t count)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        write_avx512(shadow, first, rows, count);
    else if (__builtin_cpu_supports("avx2"))
        write_avx2(shadow, first, rows, count);
    else
#endif
        write_portable(shadow, first, rows, count);
}
