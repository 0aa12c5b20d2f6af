/* The tile in plain C, for processors that have no file of their own. */
#include "tiles.h"

#include <math.h>
#include <string.h>

/* D of one query and the 16 rows of a group. */
static void group_dots(const uint8_t *codes, const int32_t *query, int32_t start, size_t steps, int32_t *dots)
{
    for (int n = 0; n < GROUP_ROWS; n++)
        dots[n] = start;
    for (size_t i = 0; i < steps; i++) {
        int8_t p[STEP_DIMS];
        memcpy(p, query + i, sizeof p);
        const uint8_t *step = codes + i * STEP_BYTES;
        for (int n = 0; n < GROUP_ROWS; n++)
            for (int j = 0; j < STEP_DIMS; j++)
                dots[n] += (int32_t)step[n * STEP_DIMS + j] * p[j];
    }
}

void tile_portable(
    const omendb_tile_rows *rows, const omendb_queries *queries, size_t first, size_t count,
    uint64_t *hits, int32_t (*dots)[TILE_ROWS])
{
    for (size_t i = 0; i < count; i++) {
        size_t query = first + i;
        const int32_t *codes = queries->codes + query * queries->steps;
        hits[i] = 0;
        for (int g = 0; g < TILE_GROUPS; g++) {
            int32_t *found = dots[i] + g * GROUP_ROWS;
            group_dots(rows->codes[g], codes, queries->starts[query], queries->steps, found);
            const float *factors = rows->factors[g];
            for (int n = 0; n < GROUP_ROWS; n++) {
                float value = factors[n] * (float)found[n];
                value = fmaf(factors[GROUP_ROWS + n], queries->alpha[query], value);
                value = fmaf(factors[2 * GROUP_ROWS + n], queries->beta[query], value);
                hits[i] |= (uint64_t) !(value < queries->theta[query]) << (g * GROUP_ROWS + n);
            }
        }
    }
}
