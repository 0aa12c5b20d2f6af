/* The innermost loop: a few queries against 64 rows of the shadow, in registers.
 *
 * For each instruction set there is one file, tile_*.c, with one function; all give the same bits,
 * so one suite holds them all to the reference. A row passes a query unless
 *
 *     fma([2], beta, fma([1], alpha, s * (float) D)) < theta         (float32; see bounds.c)
 *
 * where D is the sum of r p over the dimensions, and [1], [2] and s the row's factors. "Unless": NaN,
 * which comes of infinite factors, passes.
 */
#ifndef OMENDB_TILES_H
#define OMENDB_TILES_H

#include "shadow.h"

#define TILE_GROUPS 4
#define TILE_ROWS (TILE_GROUPS * GROUP_ROWS)
#define TILE_QUERIES 6

/* Queries as the tiles take them; arrays of all of them, one after the other. */
typedef struct {
    size_t steps;
    int32_t *codes;  /* [queries][steps]: four integers p of -127 ... 127 each, first in the low byte */
    int32_t *starts; /* -128 times the sum of p: codes of rows are r + 128 */
    float *alpha;
    float *beta;
    float *theta;
} omendb_queries;

typedef struct {
    const uint8_t *codes[TILE_GROUPS];
    const float *factors[TILE_GROUPS];
} omendb_tile_rows;

/* Bit 16 g + n of hits[i]: row n of group g passes query first + i. Where there is a hit, dots[i] are
 * that query's D with all 64 rows. 1 <= count <= TILE_QUERIES. */
typedef void (*omendb_tile)(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS]);

/* One query, and rows by their high nibbles. */
typedef struct {
    size_t steps;         /* coarse ones */
    const int32_t *codes; /* [2 steps]: as above; 0 beyond dim */
    int32_t start;        /* -NIBBLE_ZERO times the sum of p */
    float alpha, beta, theta;
    int second; /* which of the factors beta is for: 2 or 3 */
} omendb_sweeping;

/* As a tile, of one query and `tiles` tiles, each behind the other: bit 16 g + n of hits[t] is row n of group g
 * of tile t. D is the sum of h p, and the factors are those of shadow->coarse. */
typedef void (*omendb_sweep)(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits);

void sweep_portable(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits);
void tile_portable(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS]);
#if defined(__x86_64__)
void sweep_avx512(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits);
void tile_avx512(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS]);
void sweep_avx2(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits);
void tile_avx2(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS]);
#elif defined(__aarch64__)
void sweep_neon(
    const uint8_t *nibbles, const float *factors, size_t tiles, const omendb_sweeping *query,
    uint64_t *hits);
void tile_neon(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS]);
#endif

/* tiles.c: the kernels that this build has and this processor can run, best first. */
typedef struct {
    const char *name;
    omendb_tile tile;
    omendb_sweep sweep;
} omendb_kernel;

/* The kernel of a name, or NULL; `at`: the at-th one of all, NULL beyond the last. */
const omendb_kernel *omendb_kernel_named(const char *name);
const omendb_kernel *omendb_kernel_at(size_t at);

#endif
