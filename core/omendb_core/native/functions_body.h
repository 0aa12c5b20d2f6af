/* The steps of scoring/functions.py, compiled once for each instruction set.
 *
 * Included by functions.c with TARGET (a function attribute, or empty) and NAME(what) set. One number at
 * a time and without a branch, so that compilers make vectors of the loops; a compiler that does not
 * gives the same bits.
 */

TARGET ALWAYS_INLINE sum_of_two NAME(log_in_two)(double x)
{
    const bool is_small = bits_of(x) < LEAST_NORMAL_BITS;
    const double scaled = x * 0x1p54;
    const int64_t bits = bits_of(choose(is_small, scaled, x));
    const uint64_t moved = (uint64_t)bits + TO_FIRST;
    const int64_t binade = (int64_t)(moved >> MANTISSA_BITS) - 1023;
    const size_t entry = moved >> ENTRY_SHIFT & (LOG_ENTRIES - 1);
    const double m = of_bits((int64_t)((uint64_t)bits - ((uint64_t)binade << MANTISSA_BITS)));
    const double k = whole(binade) - choose(is_small, 54, 0);

    const double inverse = log_inverse[entry];
    const double m_head = without(m, LOWER_32);
    const double r = (m_head * inverse - 1) + (m - m_head) * inverse;

    const double main = k * LN2_UPPER + log_upper[entry];
    const double rest = k * LN2_LOWER + log_lower[entry];
    const double with_r = main + r;
    const double lost_with_r = (main - with_r) + r;
    const double r_head = without(r, LOWER_27);
    const double half_square = (r_head * r_head) * 0.5;
    const double upper = with_r - half_square;
    const double lost_with_square = (with_r - upper) - half_square;
    const double other_square = ((r - r_head) * (r_head + r)) * 0.5;
    double series = r * (1.0 / 9) + -1.0 / 8;
    series = series * r + 1.0 / 7;
    series = series * r + -1.0 / 6;
    series = series * r + 1.0 / 5;
    series = series * r + -1.0 / 4;
    series = series * r + 1.0 / 3;
    const double cubes = ((r * r) * r) * series;
    const double lower = (((cubes - other_square) + rest) + lost_with_r) + lost_with_square;
    return (sum_of_two){upper, lower};
}

TARGET ALWAYS_INLINE double NAME(with_special_logs)(double x, double log)
{
    log = choose(x == INFINITY, INFINITY, log);
    const double other = choose(x == 0, -INFINITY, of_bits(NAN_BITS));
    return choose(x > 0, log, other);
}

TARGET ALWAYS_INLINE double NAME(one_log)(double x)
{
    const sum_of_two log = NAME(log_in_two)(x);
    return NAME(with_special_logs)(x, log.upper + log.lower);
}

/* The second is what rounding hides in nearly all results. */
TARGET ALWAYS_INLINE sum_of_two NAME(log2_in_two)(double x)
{
    const sum_of_two log = NAME(log_in_two)(x);
    const double head = without(log.upper, LOWER_27);
    const double tail = (log.upper - head) + log.lower;
    const double small = head * INVERSE_LN2_LOWER + tail * INVERSE_LN2;
    return (sum_of_two){head * INVERSE_LN2_UPPER, small};
}

TARGET ALWAYS_INLINE double NAME(one_log2)(double x)
{
    const sum_of_two log = NAME(log2_in_two)(x);
    return NAME(with_special_logs)(x, log.upper + log.lower);
}

TARGET ALWAYS_INLINE double NAME(exp_of_two)(double x, double rest)
{
    x = choose(x > MOST_EXPONENT, MOST_EXPONENT, x);
    x = choose(x < LEAST_EXPONENT, LEAST_EXPONENT, x);
    const double rounded = x * EXP_STEPS + ROUNDING;
    const double steps = rounded - ROUNDING;
    const uint64_t number = (uint64_t)bits_of(rounded) - ROUNDING_BITS;
    const size_t entry = number & (EXP_ENTRIES - 1);
    const uint64_t exponent = (number + ((uint64_t)BIAS << EXP_SHIFT)) >> EXP_SHIFT;

    const double r = ((x - steps * EXP_STEP_UPPER) - steps * EXP_STEP_LOWER) + rest;
    double series = r * (1.0 / 120) + 1.0 / 24;
    series = series * r + 1.0 / 6;
    series = series * r + 0.5;
    const double less_one = r + (r * r) * series;
    const double power = exp_power[entry];
    const double result = power + power * (exp_power_rest[entry] + less_one);
    const uint64_t half = exponent >> 1;
    const double first = of_bits((int64_t)((half - 1) << MANTISSA_BITS));
    const double second = of_bits((int64_t)((exponent - half - 1) << MANTISSA_BITS));
    return (result * first) * second;
}

TARGET ALWAYS_INLINE double NAME(one_exp)(double x)
{
    const double result = NAME(exp_of_two)(x, 0);
    return choose(x == x, result, of_bits(NAN_BITS));
}

/* ln of x >= 0 as a sum of two that do not overlap. */
TARGET ALWAYS_INLINE sum_of_two NAME(log_of_magnitude)(double x)
{
    const sum_of_two log = NAME(log_in_two)(x);
    const double total = log.upper + log.lower;
    const double lower = (log.upper - total) + log.lower;
    const bool is_plain = (x > 0) & (x < INFINITY);
    const double other = choose(x == 0, -INFINITY, INFINITY);
    return (sum_of_two){choose(is_plain, total, other), choose(is_plain, lower, 0)};
}

/* y times a sum of two; the second is 0 where the first is beyond exp. */
TARGET ALWAYS_INLINE sum_of_two NAME(times)(double y, sum_of_two log)
{
    const double product = y * log.upper;
    const double y_head = without(y, LOWER_27), head = without(log.upper, LOWER_27);
    const double y_tail = y - y_head, tail = log.upper - head;
    const double lost = ((y_head * head - product) + y_head * tail) + y_tail * head;
    const double rest = (lost + y_tail * tail) + y * log.lower;
    const bool is_within = (product > LEAST_EXPONENT) & (product < MOST_EXPONENT);
    return (sum_of_two){product, choose(is_within, rest, 0)};
}

/* Whether y >= 0 is a whole number; an infinity is. */
TARGET ALWAYS_INLINE bool NAME(is_whole)(double y)
{
    return (y >= 0x1p52) | ((y + 0x1p52) - 0x1p52 == y);
}

TARGET ALWAYS_INLINE double NAME(one_pow)(double x, double y)
{
    const double magnitude = of_bits(bits_of(x) & INT64_MAX);
    const double y_magnitude = of_bits(bits_of(y) & INT64_MAX);
    const sum_of_two product = NAME(times)(y, NAME(log_of_magnitude)(magnitude));
    double power = NAME(exp_of_two)(product.upper, product.lower);
    power = choose(magnitude == 1, 1, power);
    const bool is_whole = NAME(is_whole)(y_magnitude);
    const bool is_odd = is_whole & !NAME(is_whole)(y_magnitude * 0.5);
    const bool is_negative = (bits_of(x) < 0) & is_odd;
    power = choose(is_negative, -power, power);
    const bool is_root = (x < 0) & (magnitude != INFINITY) & !is_whole;
    const bool is_nan = (x != x) | (y != y) | is_root;
    power = choose(is_nan, of_bits(NAN_BITS), power);
    return choose((y == 0) | (x == 1), 1, power);
}

TARGET static void NAME(log2)(const double *x, size_t count, double *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NAME(one_log2)(x[i]);
}

TARGET static void NAME(log)(const double *x, size_t count, double *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NAME(one_log)(x[i]);
}

TARGET static void NAME(exp)(const double *x, size_t count, double *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NAME(one_exp)(x[i]);
}

TARGET static void NAME(pow)(const double *x, const double *y, size_t count, double *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NAME(one_pow)(x[i], y[i]);
}

TARGET static void NAME(rests)(
    const double *x, size_t count, double *log2_rests, double *pow_rests)
{
    for (size_t i = 0; i < count; i++) {
        log2_rests[i] = NAME(log2_in_two)(x[i]).lower;
        pow_rests[i] = NAME(times)(x[i], NAME(log_of_magnitude)(x[i])).lower;
    }
}

static const omendb_functions NAME(functions) = {
    NAME_TEXT, NAME(log2), NAME(log), NAME(exp), NAME(pow), NAME(rests),
};
