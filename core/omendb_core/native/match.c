/* New rows against standing queries: every pair that reaches its query's floor.
 *
 * The standing queries are what the tiles take for rows, 64 at a time, so that these and what their
 * floors make of their factors stay in the first cache for all new rows; the new rows are what they
 * take for queries. Pairs that pass are scored.
 *
 * With y, w, e, f and the rest as in bounds.c, but y = s r + e a standing query, its floor T, and
 * q = t p + f a new row (under l2 and cosine w):
 *
 * dot.  Beyond reach if  c.q + s t d + |s r| |f| + |e| |q| < T.  With L at least the |q| of all rows of
 * the call, and divided by t:  s d + [1] (|f| / t) + (|e| L - T) / t < -c.q / t.  Calls are made for
 * rows of like lengths, so that little is lost by L.
 * l2, cosine.  Beyond reach if  |s r - t p| > A + |e| + |f|,  A² = -T or 2 - 2 T.  With E = A + |e|:
 * s d + E |f| / t - (|s r|² - E²) / 2t < (|t p|² - |f|²) / 2t.
 *
 * So the tiles' test is the same, with other factors: `aim_queries` makes them, with the same slack
 * for what float32 loses.
 */
#include "match.h"

#include "bounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PAIRS 256
/* Hits of a tile's rows and queries beyond which all of them are scored, four by four: a pair takes
 * 6 ns so, and 15 ns by itself. */
#define DENSE (TILE_QUERIES * TILE_ROWS / 4)

typedef struct {
    omendb_match *match;
    omendb_queries rows; /* the new rows, as the tiles take queries */
    double longest;      /* at least the length of every row */
    uint32_t *taken;     /* [query_count] pairs so far */
    size_t room;
} Work;

/* One tile of standing queries. */
typedef struct {
    size_t first;
    uint64_t open; /* those that take rows */
    omendb_tile_rows rows;
    _Alignas(STEP_BYTES) float factors[TILE_GROUPS][FACTORS][GROUP_ROWS];
} Block;

/* -- setting out --------------------------------------------------------------------------------*/

static bool get_memory(Work *work)
{
    omendb_match *match = work->match;
    size_t count = match->row_count;
    work->rows.steps = shadow_steps(match->shadow.dim);
    work->rows.codes = calloc(count * work->rows.steps, sizeof(int32_t));
    work->rows.starts = calloc(count, sizeof(int32_t));
    work->rows.alpha = calloc(3 * count, sizeof(float));
    work->taken = calloc(match->query_count, sizeof *work->taken);
    match->pairs = malloc(FIRST_PAIRS * sizeof *match->pairs);
    work->room = FIRST_PAIRS;
    if (!work->rows.codes || !work->rows.starts || !work->rows.alpha || !work->taken || !match->pairs)
        return false;
    work->rows.beta = work->rows.alpha + count;
    work->rows.theta = work->rows.beta + count;
    return true;
}

static void free_work(Work *work)
{
    free(work->rows.codes);
    free(work->rows.starts);
    free(work->rows.alpha);
    free(work->taken);
}

static void prepare_rows(Work *work)
{
    const omendb_match *match = work->match;
    for (size_t i = 0; i < match->row_count; i++) {
        omendb_query row;
        int32_t *codes = work->rows.codes + i * work->rows.steps;
        const float *values = match->rows + i * match->shadow.dim;
        if (!query_prepare(&match->shadow, values, codes, work->rows.starts + i, &row)) {
            /* Too large or too small for the shadow: every pair passes, and is scored. */
            memset(codes, 0, work->rows.steps * sizeof *codes);
            work->rows.starts[i] = 0;
            work->rows.alpha[i] = work->rows.beta[i] = 0;
            work->rows.theta[i] = -INFINITY;
            continue;
        }
        work->longest = fmax(work->longest, row.length);
        row_aim(&row, work->rows.alpha + i, work->rows.beta + i, work->rows.theta + i);
    }
}

static void set_block(const Work *work, size_t first, Block *block)
{
    const omendb_match *match = work->match;
    const omendb_shadow *shadow = &match->shadow;
    size_t count = match->query_count - first;
    block->first = first;
    block->open = 0;
    for (size_t i = 0; i < TILE_ROWS && i < count; i++)
        block->open |= (uint64_t)(match->floors[first + i] < INFINITY) << i;
    for (size_t g = 0; g < TILE_GROUPS; g++) {
        size_t group = first / GROUP_ROWS + g;
        const float *kept = shadow->factors + group * (FACTORS * GROUP_ROWS);
        block->rows.codes[g] = shadow->codes + group * work->rows.steps * STEP_BYTES;
        block->rows.factors[g] = block->factors[g][0];
        if ((block->open >> (g * GROUP_ROWS) & 0xffff) == 0)
            continue;
        float floors[GROUP_ROWS];
        for (size_t i = 0; i < GROUP_ROWS; i++) {
            size_t query = first + g * GROUP_ROWS + i;
            floors[i] = query < match->query_count ? match->floors[query] : INFINITY;
        }
        floors_aim(shadow->metric, kept, floors, work->longest, block->factors[g][0]);
    }
}

/* -- matching -----------------------------------------------------------------------------------*/

/* Keep a pair if it reaches its floor. False if there is no memory. */
static bool keep(Work *work, Block *block, size_t row, size_t place, float score)
{
    omendb_match *match = work->match;
    size_t query = block->first + place;
    if (!(score >= match->floors[query]))
        return true;
    if (++work->taken[query] > match->most[query]) {
        match->is_crowded[query] = true;
        block->open &= ~((uint64_t)1 << place);
        return true;
    }
    if (match->pair_count == work->room) {
        void *pairs = realloc(match->pairs, 2 * work->room * sizeof *match->pairs);
        if (pairs == NULL)
            return false;
        match->pairs = pairs;
        work->room *= 2;
    }
    match->pairs[match->pair_count++] = (omendb_pair){(uint32_t)row, (uint32_t)query, score};
    return true;
}

static bool score_hits(Work *work, Block *block, size_t row, uint64_t hits)
{
    const omendb_match *match = work->match;
    size_t dim = match->shadow.dim;
    for (; hits != 0; hits &= hits - 1) {
        size_t place = (size_t)__builtin_ctzll(hits);
        const float *query = match->queries + (block->first + place) * dim;
        float score =
            match->lanes->score(match->shadow.metric == L2, match->rows + row * dim, query, dim);
        if (!keep(work, block, row, place, score))
            return false;
    }
    return true;
}

/* The same for count <= LANES_TILE rows that hit most queries. */
static bool score_densely(
    Work *work, Block *block, size_t first, size_t count, const uint64_t *hits)
{
    const omendb_match *match = work->match;
    size_t dim = match->shadow.dim, last = match->query_count - 1;
    const float *rows[LANES_TILE], *queries[LANES_TILE];
    float scores[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < LANES_TILE; i++)
        rows[i] = match->rows + (first + (i < count ? i : 0)) * dim;
    for (size_t place = 0; place < TILE_ROWS; place += LANES_TILE) {
        if (block->first + place > last)
            break;
        for (size_t i = 0; i < LANES_TILE; i++) {
            size_t query = block->first + place + i;
            queries[i] = match->queries + (query < last ? query : last) * dim;
        }
        match->lanes->score_tile(match->shadow.metric == L2, rows, queries, dim, scores);
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < LANES_TILE; j++)
                if (hits[i] >> (place + j) & 1 & block->open >> (place + j) &&
                    !keep(work, block, first + i, place + j, scores[j][i]))
                    return false;
    }
    return true;
}

static bool match_block(Work *work, Block *block)
{
    const omendb_match *match = work->match;
    int32_t dots[TILE_QUERIES][TILE_ROWS];
    uint64_t hits[TILE_QUERIES];
    for (size_t from = 0; from < match->row_count && block->open != 0; from += TILE_QUERIES) {
        size_t left = match->row_count - from, count = left < TILE_QUERIES ? left : TILE_QUERIES;
        size_t found = 0;
        match->kernel->tile(&block->rows, &work->rows, from, count, hits, dots);
        for (size_t i = 0; i < count; i++) {
            hits[i] &= block->open;
            found += hits[i] == 0 ? 0 : (size_t)__builtin_popcountll(hits[i]);
        }
        for (size_t i = 0; i < count && found > 0; i++) {
            if (found <= DENSE) {
                if (!score_hits(work, block, from + i, hits[i] & block->open))
                    return false;
            } else if (i % LANES_TILE == 0) {
                size_t some = count - i < LANES_TILE ? count - i : LANES_TILE;
                if (!score_densely(work, block, from + i, some, hits + i))
                    return false;
            }
        }
    }
    return true;
}

/* Drop the pairs of crowded queries, and put the others in order: they are by block, then row, and
 * within a block's row by query. False if there is no memory. */
static bool sort_pairs(omendb_match *match)
{
    size_t *starts = calloc(match->row_count + 1, sizeof *starts);
    omendb_pair *sorted = malloc((match->pair_count + 1) * sizeof *sorted);
    if (starts == NULL || sorted == NULL) {
        free(starts);
        free(sorted);
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < match->pair_count; i++) {
        if (match->is_crowded[match->pairs[i].query])
            continue;
        match->pairs[kept] = match->pairs[i];
        starts[match->pairs[kept++].row + 1]++;
    }
    for (size_t row = 0; row < match->row_count; row++)
        starts[row + 1] += starts[row];
    for (size_t i = 0; i < kept; i++)
        sorted[starts[match->pairs[i].row]++] = match->pairs[i];
    free(starts);
    free(match->pairs);
    match->pairs = sorted;
    match->pair_count = kept;
    return true;
}

bool omendb_pairs_above(omendb_match *match)
{
    Work work = {.match = match};
    match->pair_count = 0;
    if (match->row_count == 0 || match->query_count == 0)
        return true;
    bool fine = get_memory(&work);
    if (fine)
        prepare_rows(&work);
    for (size_t first = 0; fine && first < match->query_count; first += TILE_ROWS) {
        Block block;
        set_block(&work, first, &block);
        if (block.open != 0)
            fine = match_block(&work, &block);
    }
    fine = fine && sort_pairs(match);
    free_work(&work);
    return fine;
}
