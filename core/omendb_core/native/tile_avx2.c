/* The tile for x86-64 with AVX2 and FMA.
 *
 * vpmaddubsw multiplies u8 by s8 and adds pairs, but saturates at 16 bits: 255 * 127 twice is too
 * much. So the signs of the query go to the rows: |p| <= 127 by +-r, of which pairs stay within
 * 2 * 127 * 127 < 2**15. Slots never written hold r = -128, which has no negative: their D may be
 * wrong, and nobody asks for it. (Widening both to 16 bits for vpmaddwd takes as many instructions a product,
 * and twice the registers.)
 *
 * 2 queries x 2 groups are 8 accumulators of 8 rows, beside 4 registers of rows; there are 16.
 */
#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))
#define QUERIES 2
#define GROUPS 2
#define HALF_ROWS 8
#define HALVES (GROUPS * GROUP_ROWS / HALF_ROWS)

/* D of count queries, the first at codes, and the rows of two groups. */
TARGET INLINE void add_up(
    const uint8_t *const *rows, const int32_t *codes, size_t steps, const int count,
    __m256i sums[QUERIES][HALVES])
{
    const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8((char)128);
    for (int i = 0; i < count; i++)
        for (int half = 0; half < HALVES; half++)
            sums[i][half] = _mm256_setzero_si256();
    for (size_t step = 0; step < steps; step++) {
        __m256i r[HALVES];
        for (int half = 0; half < HALVES; half++) {
            const uint8_t *from = rows[half / 2] + step * STEP_BYTES + half % 2 * (STEP_BYTES / 2);
            r[half] = _mm256_xor_si256(_mm256_load_si256((const void *)from), flip);
        }
        for (int i = 0; i < count; i++) {
            __m256i p = _mm256_set1_epi32(codes[(size_t)i * steps + step]);
            __m256i size = _mm256_abs_epi8(p);
            for (int half = 0; half < HALVES; half++) {
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(r[half], p));
                sums[i][half] =
                    _mm256_add_epi32(sums[i][half], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
}

/* Which of 8 rows pass, as bits. */
TARGET INLINE uint64_t passing(
    const float *factors, const omendb_queries *queries, size_t query, __m256i dots)
{
    __m256 value = _mm256_mul_ps(_mm256_load_ps(factors), _mm256_cvtepi32_ps(dots));
    value = _mm256_fmadd_ps(
        _mm256_load_ps(factors + GROUP_ROWS), _mm256_set1_ps(queries->alpha[query]), value);
    value = _mm256_fmadd_ps(
        _mm256_load_ps(factors + 2 * GROUP_ROWS), _mm256_set1_ps(queries->beta[query]), value);
    __m256 passed = _mm256_cmp_ps(value, _mm256_set1_ps(queries->theta[query]), _CMP_NLT_UQ);
    return (uint64_t)(unsigned)_mm256_movemask_ps(passed);
}

TARGET INLINE void part(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, const int count,
    int group, uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    __m256i sums[QUERIES][HALVES];
    add_up(
        rows->codes + group, queries->codes + first * queries->steps, queries->steps, count, sums);
    for (int i = 0; i < count; i++) {
        for (int half = 0; half < HALVES; half++) {
            const float *factors = rows->factors[group + half / 2] + half % 2 * HALF_ROWS;
            int row = group * GROUP_ROWS + half * HALF_ROWS;
            hits[i] |= passing(factors, queries, first + (size_t)i, sums[i][half]) << row;
            _mm256_storeu_si256((void *)(dots[i] + row), sums[i][half]);
        }
    }
}

TARGET void tile_avx2(
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

/* One query against high nibbles: a product of 15 and 127 at most, and of such sums of 16 bits hold
 * SUMMED steps of 2 pairs. */
#define SUMMED 4

/* Sum of h p over the rows of two groups. */
TARGET INLINE void add_up_nibbles(
    const uint8_t *codes, const omendb_sweeping *query, __m256i sums[HALVES])
{
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(0x0f);
    for (int half = 0; half < HALVES; half++)
        sums[half] = _mm256_setzero_si256();
    for (size_t from = 0; from < query->steps; from += SUMMED) {
        const size_t to = from + SUMMED < query->steps ? from + SUMMED : query->steps;
        __m256i pairs[HALVES];
        for (int half = 0; half < HALVES; half++)
            pairs[half] = _mm256_setzero_si256();
        for (size_t step = from; step < to; step++) {
            const __m256i first = _mm256_set1_epi32(query->codes[2 * step]);
            const __m256i second = _mm256_set1_epi32(query->codes[2 * step + 1]);
            for (int half = 0; half < HALVES; half++) {
                const uint8_t *at = codes + (step * TILE_GROUPS * 2 + (size_t)half) * (STEP_BYTES / 2);
                __m256i both = _mm256_load_si256((const void *)at);
                __m256i one = _mm256_and_si256(both, low);
                __m256i two = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
                one = _mm256_maddubs_epi16(one, first);
                two = _mm256_maddubs_epi16(two, second);
                pairs[half] = _mm256_add_epi16(pairs[half], _mm256_add_epi16(one, two));
            }
        }
        for (int half = 0; half < HALVES; half++)
            sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs[half], ones));
    }
}

/* Which of 8 rows pass, as bits. */
TARGET INLINE uint64_t passing_sweep(
    const float *factors, const omendb_sweeping *query, __m256i sums)
{
    __m256i dots =
        _mm256_add_epi32(_mm256_slli_epi32(sums, 4), _mm256_set1_epi32(query->start));
    __m256 value = _mm256_mul_ps(_mm256_load_ps(factors), _mm256_cvtepi32_ps(dots));
    value =
        _mm256_fmadd_ps(_mm256_load_ps(factors + GROUP_ROWS), _mm256_set1_ps(query->alpha), value);
    value = _mm256_fmadd_ps(
        _mm256_load_ps(factors + query->second * GROUP_ROWS), _mm256_set1_ps(query->beta), value);
    __m256 passed = _mm256_cmp_ps(value, _mm256_set1_ps(query->theta), _CMP_NLT_UQ);
    return (uint64_t)(unsigned)_mm256_movemask_ps(passed);
}

TARGET void sweep_avx2(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits)
{
    for (size_t tile = 0; tile < tiles; tile++) {
        const uint8_t *codes = nibbles + tile * query->steps * TILE_GROUPS * STEP_BYTES;
        hits[tile] = 0;
        for (size_t group = 0; group < TILE_GROUPS; group += GROUPS) {
            __m256i sums[HALVES];
            size_t at = tile * TILE_GROUPS + group;
            add_up_nibbles(codes + group * STEP_BYTES, query, sums);
            for (size_t half = 0; half < HALVES; half++) {
                size_t place = half / 2 * COARSE_FACTORS * GROUP_ROWS + half % 2 * HALF_ROWS;
                const float *factor = factors + at * COARSE_FACTORS * GROUP_ROWS + place;
                hits[tile] |= passing_sweep(factor, query, sums[half])
                              << (group * GROUP_ROWS + half * HALF_ROWS);
            }
        }
    }
}
#endif
