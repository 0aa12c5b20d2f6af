/* For orders that rise and fall with the score in ways of their own: whoever knows them leaves rows out
 * by these. The tiles are those of the scan, aimed so that every row passes. A query that the shadow does
 * not take may have any score.
 */
#include "score_bounds.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    omendb_queries queries;
    omendb_query *known;  /* [count] */
    bool *is_known;       /* [count] */
} Work;

static bool prepare(const omendb_score_bounds *asked, Work *work)
{
    size_t count = asked->count, steps = work->queries.steps = shadow_steps(asked->shadow.dim);
    work->known = malloc(count * sizeof *work->known);
    work->is_known = malloc(count * sizeof *work->is_known);
    work->queries.codes = calloc(count * steps, sizeof(int32_t));
    work->queries.starts = calloc(count, sizeof(int32_t));
    work->queries.alpha = calloc(3 * count, sizeof(float));
    if (!work->known || !work->is_known || !work->queries.codes || !work->queries.starts ||
        !work->queries.alpha)
        return false;
    work->queries.beta = work->queries.alpha + count;
    work->queries.theta = work->queries.beta + count;
    for (size_t i = 0; i < count; i++) {
        work->queries.theta[i] = -INFINITY;
        work->is_known[i] = query_prepare(
            &asked->shadow, asked->queries + i * asked->shadow.dim,
            work->queries.codes + i * steps, work->queries.starts + i, &work->known[i]);
    }
    return true;
}

static void free_all(Work *work)
{
    free(work->known);
    free(work->is_known);
    free(work->queries.codes);
    free(work->queries.starts);
    free(work->queries.alpha);
}

/* The bounds of one query and the rows of one tile. */
static void bound(
    const Work *work, size_t query, const omendb_tile_rows *rows, const int32_t *dots, float *lower,
    float *upper)
{
    for (size_t i = 0; i < TILE_ROWS && !work->is_known[query]; i++)
        lower[i] = -INFINITY, upper[i] = INFINITY;
    for (size_t g = 0; g < TILE_GROUPS && work->is_known[query]; g++)
        query_intervals(
            &work->known[query], rows->factors[g], dots + g * GROUP_ROWS, lower + g * GROUP_ROWS,
            upper + g * GROUP_ROWS);
}

bool score_bounds(const omendb_score_bounds *asked)
{
    Work work = {0};
    uint64_t hits[TILE_QUERIES];
    int32_t dots[TILE_QUERIES][TILE_ROWS];
    const size_t rows_asked = asked->tiles * TILE_ROWS;
    bool is_done = prepare(asked, &work);
    for (size_t tile = 0; is_done && tile < asked->tiles; tile++) {
        omendb_tile_rows rows;
        for (size_t g = 0; g < TILE_GROUPS; g++) {
            size_t group = asked->first / GROUP_ROWS + tile * TILE_GROUPS + g;
            rows.codes[g] = asked->shadow.codes + group * work.queries.steps * STEP_BYTES;
            rows.factors[g] = asked->shadow.factors + group * (FACTORS * GROUP_ROWS);
        }
        for (size_t from = 0; from < asked->count; from += TILE_QUERIES) {
            size_t left = asked->count - from, count = left < TILE_QUERIES ? left : TILE_QUERIES;
            asked->kernel->tile(&rows, &work.queries, from, count, hits, dots);
            for (size_t i = 0; i < count; i++) {
                size_t place = (from + i) * rows_asked + tile * TILE_ROWS;
                bound(&work, from + i, &rows, dots[i], asked->lower + place, asked->upper + place);
            }
        }
    }
    free_all(&work);
    return is_done;
}
