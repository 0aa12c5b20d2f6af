/* The eight lanes in registers of WIDTH float64, compiled once for each instruction set.
 *
 * Included by lanes.c with WIDTH (2, 4 or 8), TARGET (a function attribute, or empty), NAME(what),
 * WIDEN(p) (WIDTH float32 at any address as float64) and ADD_PRODUCT(sum, a, b) set. The order of
 * additions is the same whatever the width: lane j only ever meets lane j, and fold takes the lanes
 * apart by number. A product of float32 numbers is exact in float64, so only the additions (and the
 * squared difference) round, and a fused multiply-add of such gives the same bits as two steps.
 */

#define PARTS (LANES / WIDTH)
/* Of rows and of queries whose sums the registers hold. */
#define SUB (WIDTH / 2)

typedef float NAME(narrow) __attribute__((vector_size(4 * WIDTH)));
typedef double NAME(wide) __attribute__((vector_size(8 * WIDTH)));
typedef double NAME(four) __attribute__((vector_size(32)));
typedef double NAME(two) __attribute__((vector_size(16)));
typedef struct {
    NAME(wide) part[PARTS];
} NAME(lanes);

/* Elements p[0 .. 7] as float64; rows may stand at any address. */
TARGET ALWAYS_INLINE void NAME(load)(const float *p, NAME(lanes) *out)
{
    for (int i = 0; i < PARTS; i++)
        out->part[i] = WIDEN(p + i * WIDTH);
}

/* The last count < 8 elements, zero-padded. */
TARGET ALWAYS_INLINE void NAME(load_last)(const float *p, size_t count, NAME(lanes) *out)
{
    float padded[LANES] = {0};
    memcpy(padded, p, count * sizeof *p);
    NAME(load)(padded, out);
}

/* Elements i … i + 7 of a query of float32, or of one that lanes_widen has made. */
TARGET ALWAYS_INLINE void NAME(load_query)(
    const bool is_wide, const void *query, size_t i, size_t dim, NAME(lanes) *out)
{
    if (is_wide)
        memcpy(out, (const double *)query + i, sizeof *out);
    else if (i + LANES <= dim)
        NAME(load)((const float *)query + i, out);
    else
        NAME(load_last)((const float *)query + i, dim - i, out);
}

TARGET ALWAYS_INLINE double NAME(fold)(const NAME(lanes) *sums)
{
    /* Halves onto each other: ((0+4)+(2+6)) and ((1+5)+(3+7)) are the last two. */
    NAME(four) low, high;
    memcpy(&low, sums, sizeof low);
    memcpy(&high, (const char *)sums + sizeof low, sizeof high);
    low += high;
    NAME(two) left, right;
    memcpy(&left, &low, sizeof left);
    memcpy(&right, (const char *)&low + sizeof left, sizeof right);
    left += right;
    return left[0] + left[1];
}

TARGET ALWAYS_INLINE void NAME(add_products)(
    const NAME(lanes) *a, const NAME(lanes) *b, NAME(lanes) *sums)
{
    for (int i = 0; i < PARTS; i++)
        sums->part[i] = ADD_PRODUCT(sums->part[i], a->part[i], b->part[i]);
}

TARGET ALWAYS_INLINE void NAME(add_squares)(
    const NAME(lanes) *a, const NAME(lanes) *b, NAME(lanes) *sums)
{
    for (int i = 0; i < PARTS; i++) {
        NAME(wide) difference = a->part[i] - b->part[i];
        sums->part[i] += difference * difference;
    }
}

TARGET ALWAYS_INLINE double NAME(dot)(const float *x, const float *q, size_t dim)
{
    NAME(lanes) sums = {0}, a, b;
    size_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        NAME(load)(x + i, &a);
        NAME(load)(q + i, &b);
        NAME(add_products)(&a, &b, &sums);
    }
    if (i < dim) {
        NAME(load_last)(x + i, dim - i, &a);
        NAME(load_last)(q + i, dim - i, &b);
        NAME(add_products)(&a, &b, &sums);
    }
    return NAME(fold)(&sums);
}

TARGET ALWAYS_INLINE double NAME(squared_distance)(const float *x, const float *q, size_t dim)
{
    NAME(lanes) sums = {0}, a, b;
    size_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        NAME(load)(x + i, &a);
        NAME(load)(q + i, &b);
        NAME(add_squares)(&a, &b, &sums);
    }
    if (i < dim) {
        NAME(load_last)(x + i, dim - i, &a);
        NAME(load_last)(q + i, dim - i, &b);
        NAME(add_squares)(&a, &b, &sums);
    }
    return NAME(fold)(&sums);
}

TARGET static float NAME(score)(int is_l2, const float *x, const float *q, size_t dim)
{
    double sum = is_l2 ? -NAME(squared_distance)(x, q, dim) : NAME(dot)(x, q, dim);
    /* Rounding may make -0 out of a tiny negative sum, so this comes last. */
    return (float)sum + 0.0f;
}

/* Elements i … i + 7 of SUB rows and SUB queries into their sums. */
TARGET ALWAYS_INLINE void NAME(add_pairs)(
    int is_l2, const NAME(lanes) *x, const NAME(lanes) *q, NAME(lanes) (*sums)[SUB])
{
#pragma GCC unroll 4
    for (int a = 0; a < SUB; a++)
#pragma GCC unroll 4
        for (int b = 0; b < SUB; b++) {
            if (is_l2)
                NAME(add_squares)(&x[b], &q[a], &sums[a][b]);
            else
                NAME(add_products)(&x[b], &q[a], &sums[a][b]);
        }
}

/* Scores of SUB rows and SUB queries, whose sums stay in registers. */
TARGET ALWAYS_INLINE void NAME(score_pairs)(
    const int is_l2, const bool is_wide, const float *const *x, const void *const *q, size_t dim,
    float (*scores)[LANES_TILE])
{
    NAME(lanes) sums[SUB][SUB], left[SUB], right[SUB];
    size_t i = 0;
    /* As one initialiser gcc 12 clears memory for them first. */
#pragma GCC unroll 4
    for (int a = 0; a < SUB; a++)
#pragma GCC unroll 4
        for (int b = 0; b < SUB; b++)
            sums[a][b] = (NAME(lanes)){0};
    for (; i + LANES <= dim; i += LANES) {
#pragma GCC unroll 4
        for (int a = 0; a < SUB; a++) {
            NAME(load)(x[a] + i, &left[a]);
            NAME(load_query)(is_wide, q[a], i, i + LANES, &right[a]);
        }
        NAME(add_pairs)(is_l2, left, right, sums);
    }
    if (i < dim) {
        for (int a = 0; a < SUB; a++) {
            NAME(load_last)(x[a] + i, dim - i, &left[a]);
            NAME(load_query)(is_wide, q[a], i, dim, &right[a]);
        }
        NAME(add_pairs)(is_l2, left, right, sums);
    }
    for (int a = 0; a < SUB; a++)
        for (int b = 0; b < SUB; b++) {
            double sum = NAME(fold)(&sums[a][b]);
            scores[a][b] = (float)(is_l2 ? -sum : sum) + 0.0f;
        }
}

TARGET ALWAYS_INLINE void NAME(score_whole)(
    int is_l2, const bool is_wide, const float *const *x, const void *const *q, size_t dim,
    float (*scores)[LANES_TILE])
{
    for (int a = 0; a < LANES_TILE; a += SUB)
        for (int b = 0; b < LANES_TILE; b += SUB) {
            float part[SUB][LANES_TILE];
            if (is_l2)
                NAME(score_pairs)(1, is_wide, x + b, q + a, dim, part);
            else
                NAME(score_pairs)(0, is_wide, x + b, q + a, dim, part);
            for (int i = 0; i < SUB; i++)
                memcpy(scores[a + i] + b, part[i], SUB * sizeof **part);
        }
}

TARGET static void NAME(score_tile)(
    int is_l2, const float *const *x, const float *const *q, size_t dim,
    float (*scores)[LANES_TILE])
{
    NAME(score_whole)(is_l2, false, x, (const void *const *)q, dim, scores);
}

TARGET static void NAME(score_wide)(
    int is_l2, const float *const *x, const double *const *q, size_t dim,
    float (*scores)[LANES_TILE])
{
    NAME(score_whole)(is_l2, true, x, (const void *const *)q, dim, scores);
}

/* Elements i … i + 7 of LANES_TILE rows and one query into their sums. */
TARGET ALWAYS_INLINE void NAME(add_rows)(
    int is_l2, const NAME(lanes) *x, const NAME(lanes) *q, NAME(lanes) *sums)
{
#pragma GCC unroll 4
    for (int row = 0; row < LANES_TILE; row++) {
        if (is_l2)
            NAME(add_squares)(&x[row], q, &sums[row]);
        else
            NAME(add_products)(&x[row], q, &sums[row]);
    }
}

TARGET ALWAYS_INLINE void NAME(score_some)(
    const int is_l2, const float *const *x, const double *q, size_t dim, float *scores)
{
    NAME(lanes) sums[LANES_TILE], left[LANES_TILE], right;
    size_t i = 0;
#pragma GCC unroll 4
    for (int row = 0; row < LANES_TILE; row++)
        sums[row] = (NAME(lanes)){0};
    for (; i + LANES <= dim; i += LANES) {
        memcpy(&right, q + i, sizeof right);
#pragma GCC unroll 4
        for (int row = 0; row < LANES_TILE; row++)
            NAME(load)(x[row] + i, &left[row]);
        NAME(add_rows)(is_l2, left, &right, sums);
    }
    if (i < dim) {
        memcpy(&right, q + i, sizeof right);
        for (int row = 0; row < LANES_TILE; row++)
            NAME(load_last)(x[row] + i, dim - i, &left[row]);
        NAME(add_rows)(is_l2, left, &right, sums);
    }
    for (int row = 0; row < LANES_TILE; row++) {
        double sum = NAME(fold)(&sums[row]);
        scores[row] = (float)(is_l2 ? -sum : sum) + 0.0f;
    }
}

TARGET static void NAME(score_rows)(
    int is_l2, const float *const *x, const double *q, size_t dim, float *scores)
{
    if (is_l2)
        NAME(score_some)(1, x, q, dim, scores);
    else
        NAME(score_some)(0, x, q, dim, scores);
}

TARGET static double NAME(norm)(const float *x, size_t dim)
{
    return sqrt(NAME(dot)(x, x, dim));
}

/* x / length in float64, each rounded to float32. */
TARGET static void NAME(divide)(const float *x, double length, size_t dim, float *out)
{
    size_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        NAME(lanes) a;
        NAME(load)(x + i, &a);
        for (int part = 0; part < PARTS; part++) {
            NAME(wide) quotient = a.part[part] / length;
            NAME(narrow) rounded = __builtin_convertvector(quotient, NAME(narrow));
            memcpy(out + i + part * WIDTH, &rounded, sizeof rounded);
        }
    }
    for (; i < dim; i++) {
        float value;
        memcpy(&value, x + i, sizeof value);
        out[i] = (float)((double)value / length);
    }
}

TARGET static int32_t NAME(largest)(const float *x, size_t dim)
{
    int32_t largest = 0;
    for (size_t i = 0; i < dim; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT32_MAX;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

#undef PARTS
#undef SUB
