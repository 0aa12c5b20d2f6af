/* The int8 shadow of a ring: it finds candidates, `score` decides. Its layout, and who keeps it.
 *
 * It belongs to the Ring (`Ring.shadow`, None where no native kernel is in use). Whoever writes rows
 * into `Ring.vectors` writes the same slots here (shadow_write) before the rows become visible.
 * Killing a row does not touch it: masks carry that. Scans only read.
 *
 * A row x is kept as y = x - c = s r + e: c is the shadow's centre, the same for all rows; r integers
 * of -127 … 127; s the row's own scale. Rows stand in groups of 16: group g holds the slots
 * 16 g … 16 g + 15, and there are as many groups as whole blocks of 64 slots need.
 *
 * codes    uint8 (groups, steps, 16, 4), 64-byte aligned, steps = ceil(dim / 4): [g][i][n][j] is
 *          r + 128 of dimension 4 i + j of row 16 g + n; 128, which is 0, beyond dim. So 64 bytes
 *          are 4 dimensions of 16 rows: what the dot-product instructions take.
 * factors  float32 (groups, 3, 16), 64-byte aligned, of each row:
 *          [0] s, the scale; 0 where r is 0
 *          [1] dot: at least |s r|.  l2 and cosine: at least |e|
 *          [2] dot: at least |e|.  l2 and cosine: |s r|² - [1]², less something, which is 2**-19 of
 *              |s r|² + [1]² at least, and 2**-17 at most
 *          With these bounds.c leaves rows out. A row of [1] = infinity, [2] = 0 is never left out.
 *          Slots never written hold zeros.
 *
 * Beside them may stand the same rows told more coarsely, for who reads them once: codes by their high
 * nibbles, as y = s h + e', h = 16 ((r + 128) >> 4) - 120, which is r but for -7 … 8 in each dimension.
 *
 * nibbles  uint8 (blocks, coarse steps, 64, 4), 64-byte aligned, coarse steps = ceil(dim / 8): [b][i][n][j]
 *          is (r + 128) >> 4 of dimension 8 i + j of row 64 b + n, and 16 times that of dimension
 *          8 i + 4 + j; of 128 beyond dim. So 64 bytes are 8 dimensions of 16 rows, and whoever sweeps over
 *          blocks reads upwards: of groups one behind the other, four at a time, a sweep took 1.3 times as long
 *          from the last cache, and twice from memory, as no processor fetches four such streams ahead.
 * coarse   float32 (groups, 4, 16): the factors, with h and e' in the places of r and e, and
 *          [3] dot: 0.  l2 and cosine: |y|², less something, which is 2**-19 of |y|² + [1]² at least
 */
#ifndef OMENDB_SHADOW_H
#define OMENDB_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GROUP_ROWS 16
#define STEP_DIMS 4
#define STEP_BYTES (GROUP_ROWS * STEP_DIMS)
#define FACTORS 3
/* Rows of a block, which lie together for those who read all of them. */
#define SWEPT_ROWS 64
#define COARSE_DIMS (2 * STEP_DIMS)
#define COARSE_FACTORS 4
/* A nibble n stands for NIBBLE_STEP n - NIBBLE_ZERO. */
#define NIBBLE_STEP 16
#define NIBBLE_ZERO 120
/* Windows of more dimensions have no shadow: what is argued of roundings holds up to here. */
#define OMENDB_MAX_DIM 4096

typedef enum { DOT, COSINE, L2 } omendb_metric;

typedef struct {
    uint8_t *codes;
    float *factors;
    uint8_t *nibbles; /* NULL: neither these nor coarse are kept */
    float *coarse;
    const float *centre; /* [dim] */
    size_t dim;
    size_t slots; /* the ring's capacity */
    omendb_metric metric;
} omendb_shadow;

static inline size_t shadow_steps(size_t dim)
{
    return (dim + STEP_DIMS - 1) / STEP_DIMS;
}

static inline size_t shadow_coarse_steps(size_t dim)
{
    return (dim + COARSE_DIMS - 1) / COARSE_DIMS;
}

/* Rows float32 [count][dim] into the slots from first on; these do not wrap. */
void shadow_write(const omendb_shadow *shadow, size_t first, const float *rows, size_t count);

#endif
