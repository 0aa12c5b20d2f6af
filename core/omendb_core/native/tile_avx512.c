/* The tile for x86-64 with AVX-512 VNNI: one instruction multiplies 4 dimensions of 16 rows.
 *
 * 6 queries x 4 groups are 24 accumulators, and each load of rows serves 6 queries. Of 1 to 6 queries
 * every number is compiled on its own, so that all accumulators stay in registers.
 */
#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

/* sums += rows . query, u8 by s8, four dimensions a lane. As assembly, because gcc 12 keeps copies of
 * the accumulators of the intrinsic, and spills them: twice the time. */
#define ADD_PRODUCTS(sums, rows, query) \
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(rows), "v"(query))

TARGET static inline __attribute__((always_inline)) void tile(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, const int count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    const size_t steps = queries->steps;
    const int32_t *codes = queries->codes + first * steps;
    __m512i sums[TILE_QUERIES][TILE_GROUPS];
#pragma GCC unroll 6
    for (int i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int g = 0; g < TILE_GROUPS; g++)
            sums[i][g] = _mm512_set1_epi32(queries->starts[first + i]);
    for (size_t step = 0; step < steps; step++) {
        __m512i part[TILE_GROUPS];
#pragma GCC unroll 4
        for (int g = 0; g < TILE_GROUPS; g++)
            part[g] = _mm512_load_si512((const void *)(rows->codes[g] + step * STEP_BYTES));
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            __m512i query = _mm512_set1_epi32(codes[(size_t)i * steps + step]);
#pragma GCC unroll 4
            for (int g = 0; g < TILE_GROUPS; g++)
                ADD_PRODUCTS(sums[i][g], part[g], query);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < count; i++)
        hits[i] = 0;
#pragma GCC unroll 4
    for (int g = 0; g < TILE_GROUPS; g++) {
        __m512 scale = _mm512_load_ps(rows->factors[g]);
        __m512 one = _mm512_load_ps(rows->factors[g] + GROUP_ROWS);
        __m512 two = _mm512_load_ps(rows->factors[g] + 2 * GROUP_ROWS);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            __m512 value = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums[i][g]));
            value = _mm512_fmadd_ps(one, _mm512_set1_ps(queries->alpha[first + i]), value);
            value = _mm512_fmadd_ps(two, _mm512_set1_ps(queries->beta[first + i]), value);
            __m512 theta = _mm512_set1_ps(queries->theta[first + i]);
            uint64_t passed = _mm512_cmp_ps_mask(value, theta, _CMP_NLT_UQ);
            hits[i] |= passed << (g * GROUP_ROWS);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < count; i++)
        if (__builtin_expect(hits[i] != 0, 0))
#pragma GCC unroll 4
            for (int g = 0; g < TILE_GROUPS; g++)
                _mm512_storeu_si512((void *)(dots[i] + g * GROUP_ROWS), sums[i][g]);
}

TARGET void tile_avx512(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    switch (count) {
    case 1:
        tile(rows, queries, first, 1, hits, dots);
        return;
    case 2:
        tile(rows, queries, first, 2, hits, dots);
        return;
    case 3:
        tile(rows, queries, first, 3, hits, dots);
        return;
    case 4:
        tile(rows, queries, first, 4, hits, dots);
        return;
    case 5:
        tile(rows, queries, first, 5, hits, dots);
        return;
    default:
        tile(rows, queries, first, 6, hits, dots);
    }
}

/* One query against high nibbles: two sets of accumulators, for the even and the odd steps. Of the odd ones
 * the nibbles stay where they are, which makes them 16 times as large. */
TARGET void sweep_avx512(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits)
{
    const size_t steps = query->steps;
    const __m512i low = _mm512_set1_epi8(0x0f), high = _mm512_set1_epi8((char)0xf0);
    const __m512i start = _mm512_set1_epi32(query->start);
    const __m512 alpha = _mm512_set1_ps(query->alpha), beta = _mm512_set1_ps(query->beta);
    const __m512 theta = _mm512_set1_ps(query->theta);
    const int second = query->second * GROUP_ROWS;
    for (size_t tile = 0; tile < tiles; tile++) {
        const uint8_t *codes = nibbles + tile * steps * TILE_GROUPS * STEP_BYTES;
        const float *factor = factors + tile * TILE_GROUPS * COARSE_FACTORS * GROUP_ROWS;
        __m512i even[TILE_GROUPS], odd[TILE_GROUPS];
        uint64_t found = 0;
#pragma GCC unroll 4
        for (int g = 0; g < TILE_GROUPS; g++)
            even[g] = odd[g] = _mm512_setzero_si512();
        for (size_t step = 0; step < steps; step++, codes += TILE_GROUPS * STEP_BYTES) {
            const __m512i first = _mm512_set1_epi32(query->codes[2 * step]);
            const __m512i second = _mm512_set1_epi32(query->codes[2 * step + 1]);
#pragma GCC unroll 4
            for (int g = 0; g < TILE_GROUPS; g++) {
                __m512i both = _mm512_load_si512((const void *)(codes + g * STEP_BYTES));
                __m512i one = _mm512_and_si512(both, low);
                __m512i two = _mm512_and_si512(both, high);
                ADD_PRODUCTS(even[g], one, first);
                ADD_PRODUCTS(odd[g], two, second);
            }
        }
#pragma GCC unroll 4
        for (int g = 0; g < TILE_GROUPS; g++, factor += COARSE_FACTORS * GROUP_ROWS) {
            __m512i dots = _mm512_add_epi32(_mm512_slli_epi32(even[g], 4), odd[g]);
            __m512 value = _mm512_cvtepi32_ps(_mm512_add_epi32(dots, start));
            value = _mm512_mul_ps(_mm512_load_ps(factor), value);
            value = _mm512_fmadd_ps(_mm512_load_ps(factor + GROUP_ROWS), alpha, value);
            value = _mm512_fmadd_ps(_mm512_load_ps(factor + second), beta, value);
            uint64_t passed = _mm512_cmp_ps_mask(value, theta, _CMP_NLT_UQ);
            found |= passed << (g * GROUP_ROWS);
        }
        hits[tile] = found;
    }
}
#endif
