/* The order of decay; see order.h.
 *
 * The value of a row is fl(log2(s) + b), with b = t / half_life as float64 division gives it; log2 is
 * within 2**-45 of the true one, as it is below 150. Rounding keeps order: so bounds of a logarithm, and
 * the bias of the latest time, lead to bounds of values by the same additions.
 *
 * decayed_reach. Of a value of at least v and a bias of at most B, with u = 2**-53: L, the computed
 * log2(s), is at least v - B - u |v| - u |L + B|; log2(s) is within 2**-45 of it, as |L| < 150. The
 * difference v - B rounds by u (|v| + |B|) at most. All of this is less than 2**-51 (|v| + |B|) + 2**-40.
 */
#include "order.h"

#include "cpu.h"

#include <float.h>
#include <math.h>

/* Rows whose latest time is looked for at once. */
#define LANES 8
/* Scores are below 2**127, and above 2**-149 if they are not 0. */
#define MOST_EXPONENT 128
#define LEAST_EXPONENT -125
#define LEAST_SCORE 0x1p-149f
/* What rough_log2 may be off by, and more. */
#define ROUGHNESS 0x1p-15
#define BIAS_LOSS 0x1p-50
/* Beyond this a bias may be infinite, and is divided. */
#define SURE_BIAS 0x1p1000
#define LN2 0x1.62e42fefa39efp-1

double time_of(const omendb_times *times, size_t slot)
{
    if (times->integers == NULL)
        return times->numbers[slot] / times->per_second;
    int64_t number = times->integers[slot];
    return number == INT64_MIN ? NAN : (double)number / times->per_second;
}

/* NaN if the row has none that counts. */
static double bias_of(const omendb_order *order, size_t slot)
{
    double bias = time_of(order->times, slot) / order->half_life;
    return fabs(bias) <= DBL_MAX ? bias : NAN;
}

double decayed_value(const omendb_order *order, size_t slot, float score)
{
    double x = score;
    if (!(x > 0))
        return NAN;
    order->times->functions->log2(&x, 1, &x);
    return x + bias_of(order, slot);
}

/* As bias_of, by one product: off by less than BIAS_LOSS of itself. */
static double about_bias_of(const omendb_order *order, size_t slot)
{
    const omendb_times *times = order->times;
    double number;
    if (times->integers == NULL)
        number = times->numbers[slot];
    else
        number = times->integers[slot] == INT64_MIN ? NAN : (double)times->integers[slot];
    double bias = number * order->inverse;
    return fabs(bias) <= SURE_BIAS ? bias : bias_of(order, slot);
}

double decayed_most(const omendb_order *order, size_t slot, float upper)
{
    double bias = about_bias_of(order, slot);
    if (!(upper > 0) || isnan(bias))
        return NAN;
    return upper <= FLT_MAX ? rough_log2(upper) + ROUGHNESS + (bias + fabs(bias) * BIAS_LOSS) : INFINITY;
}

double decayed_least(const omendb_order *order, size_t slot, float lower)
{
    double bias = about_bias_of(order, slot);
    if (!(lower > 0) || isnan(bias))
        return -INFINITY;
    return rough_log2(lower) - ROUGHNESS + (bias - fabs(bias) * BIAS_LOSS);
}

/* Written with lanes side by side, so that compilers make vectors of it. A number that is NaN is never
 * the larger one. */
#define LATEST(name, type, least, attributes)                                                      \
    attributes static type name(const type *values, size_t count)                                  \
    {                                                                                              \
        type lanes[LANES], latest = least;                                                         \
        size_t i = 0;                                                                              \
        for (size_t j = 0; j < LANES; j++)                                                         \
            lanes[j] = least;                                                                      \
        for (; i + LANES <= count; i += LANES)                                                     \
            for (size_t j = 0; j < LANES; j++)                                                     \
                lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];                    \
        for (; i < count; i++)                                                                     \
            latest = values[i] > latest ? values[i] : latest;                                      \
        for (size_t j = 0; j < LANES; j++)                                                         \
            latest = lanes[j] > latest ? lanes[j] : latest;                                        \
        return latest;                                                                             \
    }

LATEST(latest_integer, int64_t, INT64_MIN, )
LATEST(latest_number, double, -INFINITY, )
#if defined(__x86_64__)
LATEST(latest_integer_avx2, int64_t, INT64_MIN, __attribute__((target("avx2"))))
LATEST(latest_number_avx2, double, -INFINITY, __attribute__((target("avx2"))))
#endif

double latest_time(const omendb_times *times, size_t first, size_t count)
{
#if defined(__x86_64__)
    const bool is_wide = cpu_has_avx2();
    int64_t (*integer)(const int64_t *, size_t) = is_wide ? latest_integer_avx2 : latest_integer;
    double (*number)(const double *, size_t) = is_wide ? latest_number_avx2 : latest_number;
#else
    int64_t (*integer)(const int64_t *, size_t) = latest_integer;
    double (*number)(const double *, size_t) = latest_number;
#endif
    if (times->integers == NULL)
        return number(times->numbers + first, count) / times->per_second;
    int64_t latest = integer(times->integers + first, count);
    return latest == INT64_MIN ? -INFINITY : (double)latest / times->per_second;
}

float decayed_reach(const omendb_order *order, double value, double bias)
{
    if (bias == -INFINITY)
        return INFINITY;
    double exponent = value - bias - ((fabs(value) + fabs(bias)) * 0x1p-51 + 0x1p-40);
    if (!(exponent > LEAST_EXPONENT))
        return LEAST_SCORE; /* value may be -inf, and both beyond all numbers */
    if (exponent >= MOST_EXPONENT)
        return INFINITY;
    double power = exponent * LN2;
    order->times->functions->exp(&power, 1, &power);
    return (float)(power * (1 - 0x1p-22));
}
