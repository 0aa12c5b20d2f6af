/* For orders that rise and fall with the score in ways of their own: whoever knows them leaves rows out
 * by these. The tiles are those of the scan, aimed so that every row passes; or, where it is known what a
 * row of a block has to score, at that. A query that the shadow does not take may have any score.
 */
#include "score_bounds.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    omendb_queries queries;
    omendb_query *known;  /* [count] */
    bool *is_known;       /* [count] */
} Work;

static bool prepare(const omendb_shadow *shadow, const float *queries, size_t count, Work *work)
{
    size_t steps = work->queries.steps = shadow_steps(shadow->dim);
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
            shadow, queries + i * shadow->dim, work->queries.codes + i * steps,
            work->queries.starts + i, &work->known[i]);
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

static omendb_tile_rows rows_of_tile(const omendb_shadow *shadow, size_t tile)
{
    omendb_tile_rows rows;
    for (size_t g = 0; g < TILE_GROUPS; g++) {
        size_t group = tile * TILE_GROUPS + g;
        rows.codes[g] = shadow->codes + group * shadow_steps(shadow->dim) * STEP_BYTES;
        rows.factors[g] = shadow->factors + group * (FACTORS * GROUP_ROWS);
    }
    return rows;
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
    bool is_done = prepare(&asked->shadow, asked->queries, asked->count, &work);
    for (size_t tile = 0; is_done && tile < asked->tiles; tile++) {
        omendb_tile_rows rows = rows_of_tile(&asked->shadow, asked->first / TILE_ROWS + tile);
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

/* -- rows that reach a floor --------------------------------------------------------------------*/

static bool is_open(const omendb_reaching *asked, size_t query, size_t block)
{
    return asked->counts[query] <= (int64_t)asked->most &&
           asked->floors[query * asked->blocks + block] < INFINITY;
}

/* Have the tiles of a block let through what may reach its floors. Whether there is a query for it. */
static bool aim_at_block(const omendb_reaching *asked, Work *work, size_t block)
{
    bool any = false;
    for (size_t i = 0; i < asked->count; i++) {
        if (!is_open(asked, i, block))
            continue;
        any = true;
        query_aim(
            &work->known[i], asked->floors[i * asked->blocks + block], work->queries.alpha + i,
            work->queries.beta + i, work->queries.theta + i);
    }
    return any;
}

/* Write down which of the rows in `hits` may reach the floor of a query. */
static void keep(
    const omendb_reaching *asked, const Work *work, size_t query, float floor, size_t tile,
    const omendb_tile_rows *rows, uint64_t hits, const int32_t *dots)
{
    int64_t count = asked->counts[query];
    for (; hits != 0 && count <= (int64_t)asked->most; hits &= hits - 1) {
        size_t bit = (size_t)__builtin_ctzll(hits);
        const float *factors = rows->factors[bit / GROUP_ROWS] + bit % GROUP_ROWS;
        omendb_interval score = query_interval(
            &work->known[query], factors[0], factors[GROUP_ROWS], factors[2 * GROUP_ROWS], dots[bit]);
        if (!(score.upper >= floor))
            continue;
        if (count < (int64_t)asked->most)
            asked->slots[query * asked->most + (size_t)count] = (int64_t)(tile * TILE_ROWS + bit);
        count++;
    }
    asked->counts[query] = count;
}

static void look_at_tile(const omendb_reaching *asked, const Work *work, size_t block, size_t tile)
{
    uint64_t hits[TILE_QUERIES];
    int32_t dots[TILE_QUERIES][TILE_ROWS];
    omendb_tile_rows rows = rows_of_tile(&asked->shadow, tile);
    for (size_t from = 0; from < asked->count; from += TILE_QUERIES) {
        size_t left = asked->count - from, count = left < TILE_QUERIES ? left : TILE_QUERIES;
        asked->kernel->tile(&rows, &work->queries, from, count, hits, dots);
        for (size_t i = 0; i < count; i++) {
            uint64_t found = hits[i] & asked->mask[tile];
            if (found != 0 && is_open(asked, from + i, block))
                keep(
                    asked, work, from + i, asked->floors[(from + i) * asked->blocks + block], tile,
                    &rows, found, dots[i]);
        }
    }
}

bool rows_reaching(const omendb_reaching *asked)
{
    Work work = {0};
    const size_t tiles = (asked->shadow.slots + TILE_ROWS - 1) / TILE_ROWS;
    bool is_done = prepare(&asked->shadow, asked->queries, asked->count, &work);
    for (size_t i = 0; is_done && i < asked->count; i++)
        asked->counts[i] = work.is_known[i] ? 0 : (int64_t)asked->most + 1;
    for (size_t block = 0; is_done && block < asked->blocks; block++) {
        size_t first = asked->first / TILE_ROWS + block * asked->block_tiles;
        if (!aim_at_block(asked, &work, block))
            continue;
        for (size_t tile = first; tile < first + asked->block_tiles && tile < tiles; tile++)
            if (asked->mask[tile] != 0)
                look_at_tile(asked, &work, block, tile);
    }
    free_all(&work);
    return is_done;
}
