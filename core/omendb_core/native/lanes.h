/* The arithmetic that defines scores and norms (PROTOCOL section 3), for the instruction set at hand.
 *
 * All variants give the same bits; tests hold each to the numpy definition in score.py.
 */
#ifndef OMENDB_LANES_H
#define OMENDB_LANES_H

#include <stddef.h>
#include <stdint.h>

#define LANES_TILE 4

typedef struct {
    const char *name;
    /* The decided score of row x and query q, both float32 [dim]; under cosine prepared ones. */
    float (*score)(int is_l2, const float *x, const float *q, size_t dim);
    /* The same for LANES_TILE rows and as many queries: scores[query][row]. A third of the time. */
    void (*score_tile)(
        int is_l2, const float *const *x, const float *const *q, size_t dim,
        float (*scores)[LANES_TILE]);
    /* The same for queries, and for one, that lanes_widen has made. */
    void (*score_wide)(
        int is_l2, const float *const *x, const double *const *q, size_t dim,
        float (*scores)[LANES_TILE]);
    void (*score_rows)(
        int is_l2, const float *const *x, const double *q, size_t dim, float *scores);
    /* The square root of the lane sum of x.x, in float64. */
    double (*norm)(const float *x, size_t dim);
    /* out = x / length, in float64, each rounded to float32. */
    void (*divide)(const float *x, double length, size_t dim, float *out);
    /* The largest |x| as the bits of a float32: those of finite numbers compare as integers do,
     * and infinities and NaN are above them all. */
    int32_t (*largest)(const float *x, size_t dim);
} omendb_lanes;

/* A query as float64: its elements, and zeros up to so many. */
size_t lanes_wide(size_t dim);
void lanes_widen(const float *q, size_t dim, double *wide);

/* By name (avx512, avx2, portable), or NULL; `at`: the at-th of those that this build has and this
 * machine can run, widest first, NULL beyond the last. */
const omendb_lanes *omendb_lanes_named(const char *name);
const omendb_lanes *omendb_lanes_at(size_t at);

#endif
