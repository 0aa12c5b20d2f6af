/* Quantising a row in registers of WIDTH float32, compiled once for each instruction set.
 *
 * Included by shadow.c with WIDTH (4, 8 or 16), TARGET (a function attribute, or empty) and
 * NAME(what) set. Sixteen lanes whatever the width, so that all variants store the same bits.
 * (Plain loops over 16 lanes: GCC 12 leaves them scalar, and a row takes three times as long.)
 */

#define PARTS (LANES / WIDTH)

typedef float NAME(floats) __attribute__((vector_size(4 * WIDTH)));
typedef int32_t NAME(integers) __attribute__((vector_size(4 * WIDTH)));
typedef uint8_t NAME(bytes) __attribute__((vector_size(WIDTH)));

/* y = x - c, zeros up to whole lanes; the largest |y|. */
TARGET ALWAYS_INLINE float NAME(centred)(
    const float *x, const float *centre, size_t dim, float *y)
{
    NAME(integers) most[PARTS] = {0};
    for (size_t i = 0; i < dim; i += LANES) {
        float last_x[LANES] = {0}, last_centre[LANES] = {0};
        const float *from = x + i, *around = centre + i;
        if (dim - i < LANES) {
            from = memcpy(last_x, from, (dim - i) * sizeof *x);
            around = memcpy(last_centre, around, (dim - i) * sizeof *x);
        }
        for (int part = 0; part < PARTS; part++) {
            NAME(floats) value, middle;
            NAME(integers) bits;
            memcpy(&value, from + part * WIDTH, sizeof value);
            memcpy(&middle, around + part * WIDTH, sizeof middle);
            value -= middle;
            memcpy(y + i + part * WIDTH, &value, sizeof value);
            memcpy(&bits, &value, sizeof bits);
            bits &= INT32_MAX; /* orders as the numbers do */
            NAME(integers) larger = bits > most[part];
            most[part] = (bits & larger) | (most[part] & ~larger);
        }
    }
    few_integers few[LANES / 4];
    memcpy(few, most, sizeof few);
    few[0] = larger_of(larger_of(few[0], few[1]), larger_of(few[2], few[3]));
    int32_t bits = few[0][0];
    for (int j = 1; j < 4; j++)
        bits = bits > few[0][j] ? bits : few[0][j];
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    return largest;
}

TARGET ALWAYS_INLINE float NAME(sum_of)(const NAME(floats) *parts)
{
    few_floats few[LANES / 4];
    memcpy(few, parts, sizeof few);
    few[0] = (few[0] + few[2]) + (few[1] + few[3]);
    return (few[0][0] + few[0][2]) + (few[0][1] + few[0][3]);
}

/* h of codes, of which the first `left` are of dimensions; 0 of the others. */
TARGET ALWAYS_INLINE NAME(floats) NAME(coarse)(NAME(integers) codes, int part, size_t left)
{
    NAME(integers) high = (codes & -NIBBLE_STEP) - NIBBLE_ZERO;
    if (left < LANES)
        for (int j = 0; j < WIDTH; j++)
            high[j] = (size_t)(part * WIDTH + j) < left ? high[j] : 0;
    return __builtin_convertvector(high, NAME(floats));
}

/* r + 128 of the values of y, whose largest is `largest`, and what they measure. */
TARGET ALWAYS_INLINE Measured NAME(quantised)(
    const float *y, float largest, size_t dim, const bool is_coarse, uint8_t *codes)
{
    NAME(floats) errors[PARTS] = {0}, squares[PARTS] = {0};
    NAME(floats) coarse_errors[PARTS] = {0}, coarse_squares[PARTS] = {0}, wholes[PARTS] = {0};
    const float inverse = 127.0f / largest;
    for (size_t i = 0; i < dim; i += LANES) {
        for (int part = 0; part < PARTS; part++) {
            NAME(floats) z;
            memcpy(&z, y + i + part * WIDTH, sizeof z);
            z *= inverse;
            NAME(floats) rounded = (z + ROUNDER) - ROUNDER;
            NAME(integers) code = __builtin_convertvector(rounded, NAME(integers)) + 128;
            if (is_coarse) {
                NAME(floats) high = NAME(coarse)(code, part, dim - i), error = z - high;
                coarse_errors[part] += error * error;
                coarse_squares[part] += high * high;
                wholes[part] += z * z;
            }
            z -= rounded;
            errors[part] += z * z;
            squares[part] += rounded * rounded; /* below 2**24: exact */
            NAME(bytes) narrow = __builtin_convertvector(code, NAME(bytes));
            memcpy(codes + i + part * WIDTH, &narrow, sizeof narrow);
        }
    }
    const float scale = largest / 127.0f;
    Measured found = {
        .fine = measured(scale, NAME(sum_of)(errors), NAME(sum_of)(squares), dim)};
    if (is_coarse) {
        found.coarse =
            measured(scale, NAME(sum_of)(coarse_errors), NAME(sum_of)(coarse_squares), dim);
        found.whole = scale * scale * NAME(sum_of)(wholes) * (2.0f - INFLATED * INFLATED);
    }
    return found;
}

TARGET ALWAYS_INLINE void NAME(write_row)(
    const omendb_shadow *shadow, size_t slot, const float *x, const bool is_coarse, float *y,
    uint8_t *row)
{
    size_t dim = shadow->dim, steps = shadow_steps(dim);
    size_t group = slot / GROUP_ROWS, place = slot % GROUP_ROWS;
    uint8_t *codes = shadow->codes + group * steps * STEP_BYTES + place * STEP_DIMS;
    float largest = NAME(centred)(x, shadow->centre, dim, y);
    Measured found = {0};
    if (largest >= LEAST && largest <= MOST) {
        found = NAME(quantised)(y, largest, dim, is_coarse, row);
    } else {
        memset(row, 128, shadow_coarse_steps(dim) * COARSE_DIMS);
        if (largest > 0)
            found.fine.error =
                largest < LEAST ? LEAST * (float)sqrt((double)dim) * INFLATED : INFINITY;
        found.coarse = found.fine;
    }
    for (size_t i = 0; i < steps; i++)
        memcpy(codes + i * STEP_BYTES, row + i * STEP_DIMS, STEP_DIMS);
    write_factors(shadow, shadow->factors + group * FACTORS * GROUP_ROWS + place, &found.fine);
    if (is_coarse)
        write_coarse(shadow, group, place, &found, row);
}

TARGET static void NAME(write)(
    const omendb_shadow *shadow, size_t first, const float *rows, size_t count)
{
    float y[OMENDB_MAX_DIM + LANES];
    uint8_t row[OMENDB_MAX_DIM + LANES];
    for (size_t i = 0; i < count; i++) {
        if (shadow->nibbles != NULL)
            NAME(write_row)(shadow, first + i, rows + i * shadow->dim, true, y, row);
        else
            NAME(write_row)(shadow, first + i, rows + i * shadow->dim, false, y, row);
    }
}

#undef PARTS
