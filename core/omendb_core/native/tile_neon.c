/* The tile for Arm with SDOT: one instruction multiplies 4 dimensions of 4 rows.
 *
 * 2 queries x 2 groups are 16 accumulators, beside 8 registers of rows; there are 32.
 */
#include "tiles.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define INLINE static inline __attribute__((always_inline))
#define QUERIES 2
#define GROUPS 2
#define QUARTER_ROWS 4
#define QUARTERS (GROUPS * GROUP_ROWS / QUARTER_ROWS)

/* D of count queries, the first at codes, and the rows of two groups. */
TARGET INLINE void add_up(
    const uint8_t *const *rows, const int32_t *codes, size_t steps, const int count,
    int32x4_t sums[QUERIES][QUARTERS])
{
    const uint8x16_t flip = vdupq_n_u8(128);
    for (int i = 0; i < count; i++)
        for (int part = 0; part < QUARTERS; part++)
            sums[i][part] = vdupq_n_s32(0);
    for (size_t step = 0; step < steps; step++) {
        int8x16_t r[QUARTERS];
        for (int part = 0; part < QUARTERS; part++) {
            const uint8_t *from = rows[part / 4] + step * STEP_BYTES + part % 4 * (STEP_BYTES / 4);
            r[part] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from), flip));
        }
        for (int i = 0; i < count; i++) {
            int8x16_t p = vreinterpretq_s8_s32(vdupq_n_s32(codes[(size_t)i * steps + step]));
            for (int part = 0; part < QUARTERS; part++)
                sums[i][part] = vdotq_s32(sums[i][part], r[part], p);
        }
    }
}

/* Which of 4 rows pass, as bits. */
TARGET INLINE uint64_t passing(
    const float *factors, const omendb_queries *queries, size_t query, int32x4_t dots)
{
    static const uint32_t bits[QUARTER_ROWS] = {1, 2, 4, 8};
    float32x4_t value = vmulq_f32(vld1q_f32(factors), vcvtq_f32_s32(dots));
    value = vfmaq_f32(value, vld1q_f32(factors + GROUP_ROWS), vdupq_n_f32(queries->alpha[query]));
    value =
        vfmaq_f32(value, vld1q_f32(factors + 2 * GROUP_ROWS), vdupq_n_f32(queries->beta[query]));
    uint32x4_t below = vcltq_f32(value, vdupq_n_f32(queries->theta[query]));
    return vaddvq_u32(vbicq_u32(vld1q_u32(bits), below));
}

TARGET INLINE void part(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, const int count,
    int group, uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    int32x4_t sums[QUERIES][QUARTERS];
    add_up(
        rows->codes + group, queries->codes + first * queries->steps, queries->steps, count, sums);
    for (int i = 0; i < count; i++) {
        for (int quarter = 0; quarter < QUARTERS; quarter++) {
            const float *factors = rows->factors[group + quarter / 4] + quarter % 4 * QUARTER_ROWS;
            int row = group * GROUP_ROWS + quarter * QUARTER_ROWS;
            hits[i] |= passing(factors, queries, first + (size_t)i, sums[i][quarter]) << row;
            vst1q_s32(dots[i] + row, sums[i][quarter]);
        }
    }
}

TARGET void tile_neon(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    for (size_t i = 0; i < count; i++)
        hits[i] = 0;
    for (int group = 0; group < TILE_GROUPS; group += GROUPS) {
        size_t i = 0;
        for (; i + QUERIES <= count; i += QUERIES)
            part(rows, queries, first + i, QUERIES, group, hits + i, dots + i);
        if (i < count)
            part(rows, queries, first + i, 1, group, hits + i, dots + i);
    }
}

/* Sum of h p over the rows of two groups. */
TARGET INLINE void add_up_nibbles(
    const uint8_t *codes, const omendb_sweeping *query, int32x4_t sums[QUARTERS])
{
    const uint8x16_t low = vdupq_n_u8(0x0f);
    for (int part = 0; part < QUARTERS; part++)
        sums[part] = vdupq_n_s32(0);
    for (size_t step = 0; step < query->steps; step++) {
        int8x16_t first = vreinterpretq_s8_s32(vdupq_n_s32(query->codes[2 * step]));
        int8x16_t second = vreinterpretq_s8_s32(vdupq_n_s32(query->codes[2 * step + 1]));
        for (int part = 0; part < QUARTERS; part++) {
            const uint8_t *at = codes + (step * TILE_GROUPS * 4 + (size_t)part) * (STEP_BYTES / 4);
            uint8x16_t both = vld1q_u8(at);
            int8x16_t one = vreinterpretq_s8_u8(vandq_u8(both, low));
            int8x16_t two = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
            sums[part] = vdotq_s32(vdotq_s32(sums[part], one, first), two, second);
        }
    }
}

/* Which of 4 rows pass, as bits. */
TARGET INLINE uint64_t passing_sweep(
    const float *factors, const omendb_sweeping *query, int32x4_t sums)
{
    static const uint32_t bits[QUARTER_ROWS] = {1, 2, 4, 8};
    int32x4_t dots = vaddq_s32(vshlq_n_s32(sums, 4), vdupq_n_s32(query->start));
    float32x4_t value = vmulq_f32(vld1q_f32(factors), vcvtq_f32_s32(dots));
    value = vfmaq_f32(value, vld1q_f32(factors + GROUP_ROWS), vdupq_n_f32(query->alpha));
    const float *second = factors + query->second * GROUP_ROWS;
    value = vfmaq_f32(value, vld1q_f32(second), vdupq_n_f32(query->beta));
    uint32x4_t below = vcltq_f32(value, vdupq_n_f32(query->theta));
    return vaddvq_u32(vbicq_u32(vld1q_u32(bits), below));
}

TARGET void sweep_neon(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits)
{
    for (size_t tile = 0; tile < tiles; tile++) {
        const uint8_t *codes = nibbles + tile * query->steps * TILE_GROUPS * STEP_BYTES;
        hits[tile] = 0;
        for (size_t group = 0; group < TILE_GROUPS; group += GROUPS) {
            int32x4_t sums[QUARTERS];
            size_t at = tile * TILE_GROUPS + group;
            add_up_nibbles(codes + group * STEP_BYTES, query, sums);
            for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
                size_t place = quarter / 4 * COARSE_FACTORS * GROUP_ROWS + quarter % 4 * QUARTER_ROWS;
                const float *factor = factors + at * COARSE_FACTORS * GROUP_ROWS + place;
                hits[tile] |= passing_sweep(factor, query, sums[quarter])
                              << (group * GROUP_ROWS + quarter * QUARTER_ROWS);
            }
        }
    }
}
#endif
