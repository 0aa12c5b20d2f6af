/* lanes.h for each instruction set: lanes_body.h compiled once for each, and the choice. */
#include "lanes.h"

#include "cpu.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES 8
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* SSE2, NEON, or whatever the compiler takes for granted. */
#define WIDTH 2
#define WIDEN(p) ((wide_portable){(p)[0], (p)[1]})
#define ADD_PRODUCT(sum, a, b) ((sum) + (a) * (b))
#define TARGET
#define NAME(what) what##_portable
#include "lanes_body.h"
#undef WIDTH
#undef WIDEN
#undef ADD_PRODUCT
#undef TARGET
#undef NAME

static const omendb_lanes portable = {
    "portable", score_portable, score_tile_portable, score_wide_portable,
    score_rows_portable, norm_portable, divide_portable, largest_portable,
};

#if defined(__x86_64__)

/* By instructions' names, as gcc 12 makes five of a __builtin_convertvector of this width. */
#define WIDTH 4
#define WIDEN(p) ((wide_avx2)_mm256_cvtps_pd(_mm_loadu_ps(p)))
#define ADD_PRODUCT(sum, a, b) \
    ((wide_avx2)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(sum)))
#define TARGET __attribute__((target("avx2,fma")))
#define NAME(what) what##_avx2
#include "lanes_body.h"
#undef WIDTH
#undef WIDEN
#undef ADD_PRODUCT
#undef TARGET
#undef NAME

#define WIDTH 8
#define WIDEN(p) ((wide_avx512)_mm512_cvtps_pd(_mm256_loadu_ps(p)))
#define ADD_PRODUCT(sum, a, b) \
    ((wide_avx512)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(sum)))
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define NAME(what) what##_avx512
#include "lanes_body.h"
#undef WIDTH
#undef WIDEN
#undef ADD_PRODUCT
#undef TARGET
#undef NAME

static const omendb_lanes avx2 = {
    "avx2", score_avx2, score_tile_avx2, score_wide_avx2,
    score_rows_avx2, norm_avx2, divide_avx2, largest_avx2,
};
static const omendb_lanes avx512 = {
    "avx512", score_avx512, score_tile_avx512, score_wide_avx512,
    score_rows_avx512, norm_avx512, divide_avx512, largest_avx512,
};

#endif

size_t lanes_wide(size_t dim)
{
    return (dim + LANES - 1) / LANES * LANES;
}

void lanes_widen(const float *q, size_t dim, double *wide)
{
    for (size_t i = 0; i < lanes_wide(dim); i++)
        wide[i] = i < dim ? q[i] : 0;
}

static const struct {
    const omendb_lanes *lanes;
    bool (*runs)(void);
} all[] = {
#if defined(__x86_64__)
    {&avx512, cpu_has_avx512},
    {&avx2, cpu_has_avx2},
#endif
    {&portable, cpu_has_what_it_was_built_for},
};

const omendb_lanes *omendb_lanes_at(size_t at)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].runs() && at-- == 0)
            return all[i].lanes;
    return NULL;
}

const omendb_lanes *omendb_lanes_named(const char *name)
{
    const omendb_lanes *lanes;
    for (size_t at = 0; (lanes = omendb_lanes_at(at)) != NULL; at++)
        if (strcmp(lanes->name, name) == 0)
            return lanes;
    return NULL;
}
