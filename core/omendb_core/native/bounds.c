/* Why no row is missed.
 *
 * A row is x, a query q, float32 both; D is the decided score. With the centre c (all zeros at first)
 * a row is kept as y = x - c = s r + e, and shadow.h says what its factors are at least. A query is
 * quantised here: under dot q = t p + f, else w = q - c = t p + f; p integers, t > 0. d = p.r, the tiles'
 * D, is exact (at most 4096 * 255 * 127 < 2**31). All else here is float64, and what that loses is
 * covered by factors (1 + 2**-40): dims are at most 4096, so sums of dim terms lose 2**-41 of the sum
 * of their magnitudes. `query_prepare` refuses what may over- or underflow.
 *
 * dot.  x.q = c.q + y.q, and  y.q = s t d + (s r).f + e.q,  so
 *
 *     |x.q - c.q - s t d| <= |s r| |f| + |e| |q|.                                         (1)
 *
 * A row cannot reach T if  c.q + s t d + [1] |f| + [2] |q| < T.  Divided by t, that is the tiles' test,
 * with alpha = |f| / t, beta = |q| / t, theta = (T - c.q) / t.
 *
 * l2.  Distances, as |x - q| = |y - w|:  ||y - w| - |s r - t p|| <= |e| + |f|.            (2)
 * A row cannot reach T = -A² if  |s r - t p| > A + |f| + |e|.  Squared, with B = A + |f|:
 *
 *     |s r|² + |t p|² - 2 s t d > B² + 2 B |e| + |e|²,  that is
 *     s d + |e| B / t - (|s r|² - |e|²) / 2t < (|t p|² - B²) / 2t:
 *
 * the tiles' test again, alpha = B / t, beta = -1 / 2t.
 *
 * cosine.  Both are normalised: |x|² and |q|² are 1, but for 2**-22 as elements were rounded. So
 * 2 x.q = |x|² + |q|² - |x - q|² reaches 2 T only if |x - q|² <= A² = 2 + 2**-21 - 2 T: l2 again. That
 * tells rows better apart than (1) where the nearest are near: of 500 in a cluster at 0.9, 75 were left
 * to be scored instead of 294. Where the best is at 0.3 it is 15% worse, and leaves 34 for 32.
 *
 * Of a row told coarsely |e| is larger than A where the best are far. Then products tell more:
 * y.w = s h.w + e.w <= s t d + |s h| |f| + |e| |w|, and |s h| |f| <= (|y| + |e|) |f|, of which
 * |y| |f| <= (|y|² |f| / |w| + |w| |f|) / 2. So with |y|² as [3] a row cannot reach T if
 *
 *     s d + |e| (|w| + |f|) / t - [3] (1 - |f| / |w|) / 2t < (|w|² - A² - |w| |f|) / 2t,               (3)
 *
 * which is taken if |w| < A. (Of 100,000 x 128 normal rows (2) leaves
 * 1,261, (3) 635; of rows in clusters of 500 it is 398 and 495.)
 *
 * What float32 loses in the tiles' test, with u = 2**-24: d to float32, the product with s, two fused
 * steps, and alpha, beta rounded: less than 8 u (|s d| + |[1] alpha| + |[2] beta|). Of these
 *   - [1] alpha, and [2] beta where it is positive: both are made larger by 2**-19 of themselves;
 *   - |s d| <= |s r| |p|: under dot alpha is made larger by 2**-20 |p|, as [1] >= |s r|;
 *     under l2, |s r| |p| <= (|s r|² + |t p|²) / 2t: theta is made smaller by 2**-20 |t p|² / 2t, and
 *     [2] is smaller than |s r|² - |e|² by 2**-19 (|s r|² + |e|²) and more, which covers |[2] beta| too.
 *     (3): |s h|² <= 2 |y|² + 2 |e|², so twice that, which [3] is smaller by as well.
 * theta itself is lowered by 2**-22 of itself for being rounded.
 *
 * D against T: D is the real score but for float64 sums and one rounding to float32. So D >= T means
 * that the real one is at least T - 2**-22 |T| - 2**-140; float64 sums lose 2**-40 |x| |q|, and
 * |x| <= |s r| + |e| + |c|: the first two are in the 2**-19 above, |c| |q| 2**-38 is `lost`.
 */
#include "bounds.h"

#include "bits.h"
#include "cpu.h"

#include <math.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LEAST 0x1p-30
#define MOST 0x1p30
#define WIDER (1.0 + 0x1p-40)
#define F32_LOSS 0x1p-22
#define TINY 0x1p-140
/* More than |x|² + |q|² differs from 2 under cosine. */
#define UNIT_LOSS 0x1p-21
/* No finite row comes near this, so it stands for an infinity that float32 sums can take. */
#define BEYOND 0x1p120
/* Lengths of rows that the shadow takes are well below this. */
#define BEYOND_LENGTH 0x1p44
/* Adding this rounds to an integer. */
#define ROUNDER 0x1.8p52

/* What rounding to a query's codes came to. */
typedef struct {
    int64_t sum, squares;
    double errors; /* squared */
} Rounded;

static Rounded round_to_codes(const double *moved, size_t dim, double scale, int32_t *codes)
{
    Rounded found = {0, 0, 0};
    double inverse = 1 / scale;
    for (size_t step = 0; step < shadow_steps(dim); step++) {
        uint32_t packed = 0;
        for (size_t j = 0; j < STEP_DIMS; j++) {
            size_t i = step * STEP_DIMS + j;
            if (i >= dim)
                break;
            double rounded = (moved[i] * inverse + ROUNDER) - ROUNDER;
            double error = moved[i] - rounded * scale;
            found.errors += error * error;
            int32_t p = (int32_t)rounded;
            found.sum += p;
            found.squares += p * p;
            packed |= (uint32_t)(uint8_t)p << (8 * j);
        }
        codes[step] = (int32_t)packed;
    }
    return found;
}

bool query_prepare(
    const omendb_shadow *shadow, const float *values, int32_t *codes, int32_t *start,
    omendb_query *query)
{
    const float *centre = shadow->centre;
    size_t dim = shadow->dim;
    double moved[OMENDB_MAX_DIM];
    double most = 0, square = 0, offset = 0, centre_square = 0;
    for (size_t i = 0; i < dim; i++) {
        double value = values[i];
        moved[i] = shadow->metric == DOT ? value : value - centre[i];
        most = fmax(most, fabs(moved[i]));
        square += moved[i] * moved[i];
        offset += value * centre[i];
        centre_square += (double)centre[i] * centre[i];
    }
    if (!(most == 0 || (most >= LEAST && most <= MOST)))
        return false;
    double scale = most == 0 ? 1 : most / 127;
    Rounded rounded = round_to_codes(moved, dim, scale, codes);
    *start = (int32_t)(-128 * rounded.sum);
    query->metric = shadow->metric;
    query->scale = scale;
    query->length = sqrt(square) * WIDER;
    /* An error is off by 2**-52 of its value at most. */
    query->error = sqrt(rounded.errors) * WIDER + query->length * 0x1p-50;
    query->codes = sqrt((double)rounded.squares) * WIDER;
    query->square = scale * scale * (double)rounded.squares;
    query->offset = offset;
    query->lost = sqrt(centre_square) * query->length * 0x1p-38;
    return true;
}

static float within_reach(double theta)
{
    theta -= fabs(theta) * F32_LOSS;
    return (float)fmin(fmax(theta, -BEYOND), BEYOND);
}

void query_aim(const omendb_query *query, float threshold, float *alpha, float *beta, float *theta)
{
    double scale = query->scale, least = threshold - fabs((double)threshold) * F32_LOSS - TINY;
    if (query->metric != DOT) {
        /* Nothing is nearer than 0, so a larger threshold leaves out nothing that this does not. */
        double farthest = fmax(0, query->metric == L2 ? -least : 2 + UNIT_LOSS - 2 * least);
        double reach = least == -INFINITY ? 0 : sqrt(farthest) * WIDER + query->error;
        double square = query->square * (1 - 0x1p-20) - reach * reach * WIDER;
        *alpha = (float)(reach / scale * (1 + 0x1p-18));
        *beta = (float)(-0.5 / scale);
        *theta = least == -INFINITY ? (float)-BEYOND : within_reach(square * 0.5 / scale);
    } else {
        *alpha = (float)((query->error / scale + 0x1p-20 * query->codes) * (1 + 0x1p-18));
        *beta = (float)(query->length / scale * (1 + 0x1p-18));
        *theta = within_reach((least - query->offset - query->lost) / scale);
    }
}

int query_aim_coarse(
    const omendb_query *query, float threshold, float *alpha, float *beta, float *theta)
{
    double scale = query->scale, least = threshold - fabs((double)threshold) * F32_LOSS - TINY;
    double farthest = query->metric == L2 ? -least : 2 + UNIT_LOSS - 2 * least;
    double length = query->length, square = length * length * (1 - 0x1p-38);
    if (query->metric == DOT || !(farthest > square && farthest < INFINITY) || length == 0) {
        query_aim(query, threshold, alpha, beta, theta);
        return 2;
    }
    double error = query->error < length ? query->error : length;
    square -= query->square * 0x1p-20 + (farthest + length * error) * WIDER;
    *alpha = (float)((length + query->error) / scale * (1 + 0x1p-18));
    *beta = (float)(-0.5 / scale * (1 - error / length));
    *theta = within_reach(square * 0.5 / scale);
    return 3;
}

void row_aim(const omendb_query *row, float *alpha, float *beta, float *theta)
{
    double scale = row->scale;
    if (row->metric != DOT) {
        double square = row->square * (1 - 0x1p-20) - row->error * row->error * WIDER;
        *alpha = (float)(row->error / scale * (1 + 0x1p-18));
        *beta = (float)(-0.5 / scale);
        *theta = within_reach(square * 0.5 / scale);
    } else {
        *alpha = (float)((row->error / scale + 0x1p-20 * row->codes) * (1 + 0x1p-18));
        *beta = (float)(1 / scale);
        *theta = within_reach((-row->offset - row->lost) / scale);
    }
}

/* One standing query's. A floor of -inf lets every row pass, and so does a factor of infinity; +inf
 * lets none. Written without branches, for many at once. */
ALWAYS_INLINE void floor_aim(
    const bool is_dot, double base, double slope, double longest, float floor, const float *factors,
    float *aimed)
{
    double scale = factors[0], one = factors[GROUP_ROWS], two = factors[2 * GROUP_ROWS];
    double least = floor - fabs((double)floor) * F32_LOSS - TINY;
    double first = one, second;
    if (is_dot) {
        double error = two * longest;
        second = error - least + (error + fabs(least)) * 0x1p-19;
        second = second < BEYOND ? second : BEYOND;
    } else {
        double farthest = base + slope * least;
        double reach = sqrt(farthest > 0 ? farthest : 0) * WIDER;
        reach = reach < BEYOND_LENGTH ? reach : BEYOND_LENGTH;
        first = (reach + one) * (1 + 0x1p-22);
        second = two - reach * (reach + 2 * one) * (1 + 0x1p-17);
    }
    bool every = (one == INFINITY) | (floor == -INFINITY), none = floor == INFINITY;
    double nothing = is_dot ? -BEYOND : BEYOND;
    aimed[0] = (float)(every | none ? 0 : scale);
    aimed[GROUP_ROWS] = (float)(every ? INFINITY : none ? 0 : first);
    aimed[2 * GROUP_ROWS] = (float)(every ? 0 : none ? nothing : second);
}

#define FLOORS_AIM(name, attributes)                                                               \
    attributes static void name(                                                                   \
        omendb_metric metric, const float *factors, const float *floors, double longest,           \
        float *aimed)                                                                              \
    {                                                                                              \
        double base = metric == L2 ? 0 : 2 + UNIT_LOSS, slope = metric == L2 ? -1 : -2;            \
        if (metric == DOT)                                                                         \
            for (int i = 0; i < GROUP_ROWS; i++)                                                   \
                floor_aim(true, 0, 0, longest, floors[i], factors + i, aimed + i);                 \
        else                                                                                       \
            for (int i = 0; i < GROUP_ROWS; i++)                                                   \
                floor_aim(false, base, slope, 0, floors[i], factors + i, aimed + i);               \
    }

FLOORS_AIM(floors_aim_portable, )
#if defined(__x86_64__)
FLOORS_AIM(floors_aim_avx512, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))))
#endif

void floors_aim(
    omendb_metric metric, const float *factors, const float *floors, double longest, float *aimed)
{
#if defined(__x86_64__)
    if (cpu_has_avx512()) {
        floors_aim_avx512(metric, factors, floors, longest, aimed);
        return;
    }
#endif
    floors_aim_portable(metric, factors, floors, longest, aimed);
}

/* What the score of a row of finite factors lies between, rounded outwards to float32. Written without
 * branches, for many at once. */
ALWAYS_INLINE omendb_interval interval_of(
    const omendb_metric metric, const omendb_query *query, double scale, double one, double two,
    double dot)
{
    double product = scale * query->scale * dot, lower, upper;
    if (metric == DOT) {
        double error = (one * query->error + two * query->length + fabs(product) * 0x1p-40) * WIDER;
        double middle = product + query->offset;
        error += query->lost + one * query->length * 0x1p-38;
        lower = middle - error, upper = middle + error;
    } else {
        double one_square = one * one;
        double least = two + one_square, most = (least + one_square * 0x1p-16) * (1 + 0x1p-16);
        least += query->square - 2 * product, most += query->square - 2 * product;
        double loss = (fabs(two) + one_square + query->square) * 0x1p-40;
        double around = (one + query->error) * WIDER;
        least -= loss, most += loss;
        double nearest = sqrt(choose(least > 0, least, 0)) - around;
        double farthest = sqrt(choose(most > 0, most, 0)) * WIDER + around;
        nearest = choose(nearest > 0, nearest, 0);
        farthest *= farthest * WIDER, nearest *= nearest * (1 - 0x1p-40);
        lower = metric == L2 ? -farthest : 1 - UNIT_LOSS - farthest / 2;
        upper = metric == L2 ? -nearest : 1 + UNIT_LOSS - nearest / 2;
    }
    return (omendb_interval){
        .lower = (float)(lower - fabs(lower) * F32_LOSS - TINY),
        .upper = (float)(upper + fabs(upper) * F32_LOSS + TINY),
    };
}

omendb_interval query_interval(
    const omendb_query *query, float scale, float one, float two, int32_t dot)
{
    if (one == INFINITY)
        return (omendb_interval){-INFINITY, INFINITY};
    return interval_of(query->metric, query, scale, one, two, dot);
}

#define INTERVALS_OF(metric)                                                                       \
    for (int i = 0; i < GROUP_ROWS; i++) {                                                         \
        double one = factors[GROUP_ROWS + i];                                                      \
        bool is_known = one < INFINITY;                                                            \
        omendb_interval found = interval_of(                                                       \
            metric, query, factors[i], choose(is_known, one, 0), factors[2 * GROUP_ROWS + i],      \
            dots[i]);                                                                              \
        lower[i] = (float)choose(is_known, found.lower, -INFINITY);                                \
        upper[i] = (float)choose(is_known, found.upper, INFINITY);                                 \
    }

#define QUERY_INTERVALS(name, attributes)                                                          \
    attributes static void name(                                                                   \
        const omendb_query *query, const float *restrict factors, const int32_t *restrict dots,    \
        float *restrict lower, float *restrict upper)                                              \
    {                                                                                              \
        if (query->metric == DOT)                                                                  \
            INTERVALS_OF(DOT)                                                                      \
        else if (query->metric == L2)                                                              \
            INTERVALS_OF(L2)                                                                       \
        else                                                                                       \
            INTERVALS_OF(COSINE)                                                                   \
    }

QUERY_INTERVALS(query_intervals_portable, )
#if defined(__x86_64__)
QUERY_INTERVALS(
    query_intervals_avx512,
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"))))
QUERY_INTERVALS(query_intervals_avx2, __attribute__((target("avx2"))))
#endif

void query_intervals(
    const omendb_query *query, const float *factors, const int32_t *dots, float *lower,
    float *upper)
{
#if defined(__x86_64__)
    if (cpu_has_avx512()) {
        query_intervals_avx512(query, factors, dots, lower, upper);
        return;
    }
    if (cpu_has_avx2()) {
        query_intervals_avx2(query, factors, dots, lower, upper);
        return;
    }
#endif
    query_intervals_portable(query, factors, dots, lower, upper);
}
