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
    int32_t all[LANES];
    memcpy(all, most, sizeof all);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            all[j] = all[j] > all[j + width] ? all[j] : all[j + width];
    float largest;
    memcpy(&largest, all, sizeof largest);
    return largest;
}

/* r + 128 of the values of y, whose largest is `largest`, and what they measure. */
TARGET ALWAYS_INLINE Measures NAME(quantised)(
    const float *y, float largest, size_t dim, uint8_t *codes)
{
    NAME(floats) errors[PARTS] = {0}, squares[PARTS] = {0};
    const float inverse = 127.0f / largest;
    for (size_t i = 0; i < dim; i += LANES) {
        for (int part = 0; part < PARTS; part++) {
            NAME(floats) z;
            memcpy(&z, y + i + part * WIDTH, sizeof z);
            z *= inverse;
            NAME(floats) rounded = (z + ROUNDER) - ROUNDER;
            z -= rounded;
            errors[part] += z * z;
            squares[part] += rounded * rounded; /* below 2**24: exact */
            NAME(integers) code = __builtin_convertvector(rounded, NAME(integers)) + 128;
            NAME(bytes) narrow = __builtin_convertvector(code, NAME(bytes));
            memcpy(codes + i + part * WIDTH, &narrow, sizeof narrow);
        }
    }
    float error[LANES], square[LANES];
    memcpy(error, errors, sizeof error);
    memcpy(square, squares, sizeof square);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) {
            error[j] += error[j + width];
            square[j] += square[j + width];
        }
    return measured(largest / 127.0f, error[0], square[0], dim);
}

TARGET ALWAYS_INLINE void NAME(write_row)(
    const omendb_shadow *shadow, size_t slot, const float *x, float *y, uint8_t *row)
{
    size_t dim = shadow->dim, steps = shadow_steps(dim);
    size_t group = slot / GROUP_ROWS, place = slot % GROUP_ROWS;
    uint8_t *codes = shadow->codes + group * steps * STEP_BYTES + place * STEP_DIMS;
    float largest = NAME(centred)(x, shadow->centre, dim, y);
    Measures found = {0, 0, 0, 0};
    if (largest >= LEAST && largest <= MOST) {
        found = NAME(quantised)(y, largest, dim, row);
    } else {
        memset(row, 128, steps * STEP_DIMS);
        if (largest > 0)
            found.error = largest < LEAST ? LEAST * (float)sqrt((double)dim) * INFLATED : INFINITY;
    }
    for (size_t i = 0; i < steps; i++)
        memcpy(codes + i * STEP_BYTES, row + i * STEP_DIMS, STEP_DIMS);
    write_factors(shadow, shadow->factors + group * FACTORS * GROUP_ROWS + place, &found);
}

TARGET static void NAME(write)(
    const omendb_shadow *shadow, size_t first, const float *rows, size_t count)
{
    float y[OMENDB_MAX_DIM + LANES];
    uint8_t row[OMENDB_MAX_DIM + LANES];
    for (size_t i = 0; i < count; i++)
        NAME(write_row)(shadow, first + i, rows + i * shadow->dim, y, row);
}

#undef PARTS
