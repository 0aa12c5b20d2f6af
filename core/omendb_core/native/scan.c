/* The best rows of a ring for many queries: the shadow finds candidates, the definition decides.
 *
 * The outer loop runs over tiles of 64 rows, the newest first, the inner one over the queries, so
 * that a tile stays in the first cache for all of them, and memory is read once. What passes a tile
 * is looked at row by row: its bounds raise the query's threshold at once, and so the next tile is
 * aimed better. A few dozen rows a query are left in the end, and scored.
 *
 * Queries take part in a pass: those whose masks hold most groups of 16 rows together, the others
 * with those of the same mask, over the groups that this holds.
 *
 * A query of which the bounds tell too little is given up here: every row is scored for it.
 */
#include "scan.h"

#include "exhaustive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a query takes of a pass, over what reading memory takes (34 and 76 us of 110 at 100,000 x 128);
 * see worth_a_pass. */
#define SHARED_COST 0.45
#define READING_COST 1.0

typedef struct {
    size_t asked; /* which of the call's queries */
    size_t mask;
    omendb_query query;
    omendb_candidates candidates;
    bool given_up;
} Seeker;

typedef struct {
    const omendb_scan *scan;
    omendb_queries queries; /* in the order of seekers */
    Seeker *seekers;        /* [count], those of a pass one after the other */
    size_t *order;          /* [count] by asked: the place among seekers */
    uint64_t *rows_of; /* [mask_count] how many rows each mask holds */
    size_t *groups_of; /* [mask_count] and how many groups */
    bool *is_alone;    /* [mask_count] whether it makes a pass of its own */
    bool gave_up;      /* since the last tile */
} Work;

static inline unsigned group_bits(const uint64_t *mask, size_t group)
{
    return (unsigned)(mask[group / TILE_GROUPS] >> (group % TILE_GROUPS * GROUP_ROWS)) & 0xffff;
}

static inline const uint64_t *mask_at(const omendb_scan *scan, size_t mask)
{
    return scan->masks + mask * scan->words;
}

static void count_mask(const omendb_scan *scan, size_t mask, uint64_t *rows, size_t *groups)
{
    const uint64_t *words = mask_at(scan, mask);
    uint64_t found = 0;
    size_t there = 0;
    for (size_t i = 0; i < scan->words; i++) {
        uint64_t word = words[i];
        if (word == 0)
            continue;
        found += (uint64_t)__builtin_popcountll(word);
        for (int g = 0; g < TILE_GROUPS; g++)
            there += (word >> (g * GROUP_ROWS) & 0xffff) != 0;
    }
    *rows = found;
    *groups = there;
}

/* Whether `asking` queries of a mask with a share of all groups are faster off by themselves. */
static bool worth_a_pass(double share, size_t asking)
{
    return share * (SHARED_COST + READING_COST / (double)asking) < SHARED_COST;
}

/* -- setting out --------------------------------------------------------------------------------*/

static void free_work(Work *work)
{
    if (work->seekers != NULL)
        for (size_t i = 0; i < work->scan->count; i++)
            candidates_free(&work->seekers[i].candidates);
    free(work->seekers);
    free(work->queries.codes);
    free(work->queries.starts);
    free(work->queries.alpha);
    free(work->order);
    free(work->rows_of);
    free(work->groups_of);
    free(work->is_alone);
}

static bool get_memory(Work *work)
{
    size_t count = work->scan->count, masks = work->scan->mask_count;
    size_t steps = work->queries.steps = shadow_steps(work->scan->shadow.dim);
    work->seekers = calloc(count, sizeof *work->seekers);
    work->queries.codes = malloc(count * steps * sizeof(int32_t));
    work->queries.starts = malloc(count * sizeof(int32_t));
    work->queries.alpha = malloc(3 * count * sizeof(float));
    work->order = malloc(count * sizeof *work->order);
    work->rows_of = calloc(masks, sizeof *work->rows_of);
    work->groups_of = calloc(masks, sizeof *work->groups_of);
    work->is_alone = calloc(masks, sizeof *work->is_alone);
    if (!work->seekers || !work->queries.codes || !work->queries.starts || !work->queries.alpha ||
        !work->order || !work->rows_of || !work->groups_of || !work->is_alone)
        return false;
    work->queries.beta = work->queries.alpha + count;
    work->queries.theta = work->queries.beta + count;
    return true;
}

/* Which masks make a pass of their own; order: queries of the common pass first, then by mask. */
static void plan(Work *work)
{
    const omendb_scan *scan = work->scan;
    size_t groups = (scan->rows.used + GROUP_ROWS - 1) / GROUP_ROWS, place = 0;
    for (size_t mask = 0; mask < scan->mask_count; mask++) {
        size_t asking = 0;
        for (size_t i = 0; i < scan->count; i++)
            asking += (size_t)scan->mask_of[i] == mask;
        count_mask(scan, mask, &work->rows_of[mask], &work->groups_of[mask]);
        work->is_alone[mask] =
            asking > 0 && groups > 0 &&
            worth_a_pass((double)work->groups_of[mask] / (double)groups, asking);
    }
    for (size_t i = 0; i < scan->count; i++)
        if (!work->is_alone[scan->mask_of[i]])
            work->order[i] = place++;
    for (size_t mask = 0; mask < scan->mask_count; mask++)
        for (size_t i = 0; work->is_alone[mask] && i < scan->count; i++)
            if ((size_t)scan->mask_of[i] == mask)
                work->order[i] = place++;
}

static void aim(const Work *work, size_t place)
{
    const Seeker *seeker = &work->seekers[place];
    const omendb_queries *queries = &work->queries;
    query_aim(
        &seeker->query, seeker->candidates.threshold, queries->alpha + place, queries->beta + place,
        queries->theta + place);
}

static bool prepare(Work *work, size_t asked)
{
    const omendb_scan *scan = work->scan;
    size_t place = work->order[asked];
    Seeker *seeker = &work->seekers[place];
    seeker->asked = asked;
    seeker->mask = (size_t)scan->mask_of[asked];
    uint64_t rows = work->rows_of[seeker->mask];
    uint64_t k = (uint64_t)scan->k[asked] < rows ? (uint64_t)scan->k[asked] : rows;
    const float *values = scan->queries + asked * scan->shadow.dim;
    seeker->given_up = !query_prepare(
        &scan->shadow, values, work->queries.codes + place * work->queries.steps,
        work->queries.starts + place, &seeker->query);
    if (!candidates_begin(
            &seeker->candidates, &scan->rows, values, k > 0 ? (size_t)k : 1,
            scan->min_scores[asked], (size_t)rows))
        return false;
    if (!seeker->given_up)
        aim(work, place);
    return true;
}

/* -- a pass -------------------------------------------------------------------------------------*/

/* Rows of a tile; places beyond `count` repeat the first, and have no bits in any mask. */
typedef struct {
    omendb_tile_rows rows;
    uint32_t groups[TILE_GROUPS];
    size_t count;
    bool is_word; /* the four groups of one word of the masks */
} Tile;

/* Goes through the groups that any mask of a pass holds, word by word, the newest first. */
typedef struct {
    const Work *work;
    size_t first, stop; /* whose masks: seekers */
    size_t words, word, left;
    uint32_t groups[2 * TILE_GROUPS]; /* of words that hold some of their groups only */
    size_t waiting;
} Cursor;

static Cursor start_of(const Work *work, size_t first, size_t stop)
{
    const omendb_scan *scan = work->scan;
    Cursor cursor = {.work = work, .first = first, .stop = stop};
    cursor.words = cursor.left = (scan->rows.used + TILE_ROWS - 1) / TILE_ROWS;
    cursor.word = (scan->rows.oldest + scan->rows.slots - 1) % scan->rows.slots / TILE_ROWS;
    return cursor;
}

static void set_tile(const Work *work, const uint32_t *groups, size_t count, Tile *tile)
{
    const omendb_shadow *shadow = &work->scan->shadow;
    tile->count = count;
    tile->is_word = false;
    for (size_t g = 0; g < TILE_GROUPS; g++) {
        uint32_t group = tile->groups[g] = groups[g < count ? g : 0];
        tile->rows.codes[g] = shadow->codes + group * work->queries.steps * STEP_BYTES;
        tile->rows.factors[g] = shadow->factors + group * (FACTORS * GROUP_ROWS);
    }
}

static void set_word(const Work *work, size_t word, Tile *tile)
{
    uint32_t groups[TILE_GROUPS];
    for (size_t g = 0; g < TILE_GROUPS; g++)
        groups[g] = (uint32_t)(word * TILE_GROUPS + g);
    set_tile(work, groups, TILE_GROUPS, tile);
    tile->is_word = true;
}

static uint64_t wanted_of(const Cursor *cursor, size_t word)
{
    const Work *work = cursor->work;
    uint64_t bits = 0;
    for (size_t place = cursor->first; place < cursor->stop && bits != UINT64_MAX; place++)
        if (place == cursor->first || work->seekers[place].mask != work->seekers[place - 1].mask)
            bits |= mask_at(work->scan, work->seekers[place].mask)[word];
    return bits;
}

/* The next tile; false if there is none. */
static bool next_tile(Cursor *cursor, Tile *tile)
{
    while (cursor->left > 0) {
        size_t word = cursor->word;
        cursor->word = word == 0 ? cursor->words - 1 : word - 1;
        cursor->left--;
        uint64_t bits = wanted_of(cursor, word);
        unsigned there = 0;
        for (size_t g = 0; g < TILE_GROUPS; g++)
            there |= ((bits >> (g * GROUP_ROWS) & 0xffff) != 0) << g;
        if (there == (1 << TILE_GROUPS) - 1) {
            set_word(cursor->work, word, tile);
            return true;
        }
        for (size_t g = 0; g < TILE_GROUPS; g++)
            if (there >> g & 1)
                cursor->groups[cursor->waiting++] = (uint32_t)(word * TILE_GROUPS + g);
        if (cursor->waiting >= TILE_GROUPS)
            break;
    }
    if (cursor->waiting == 0)
        return false;
    size_t count = cursor->waiting < TILE_GROUPS ? cursor->waiting : TILE_GROUPS;
    set_tile(cursor->work, cursor->groups, count, tile);
    cursor->waiting -= count;
    for (size_t i = 0; i < cursor->waiting; i++)
        cursor->groups[i] = cursor->groups[count + i];
    return true;
}

static uint64_t tile_mask(const Tile *tile, const uint64_t *mask)
{
    uint64_t bits = 0;
    if (tile->is_word)
        return mask[tile->groups[0] / TILE_GROUPS];
    for (size_t g = 0; g < tile->count; g++)
        bits |= (uint64_t)group_bits(mask, tile->groups[g]) << (g * GROUP_ROWS);
    return bits;
}

/* Offer the rows of `hits`. False if there is no memory. */
static bool take(Work *work, size_t place, const Tile *tile, uint64_t hits, const int32_t *dots)
{
    Seeker *seeker = &work->seekers[place];
    float before = seeker->candidates.threshold;
    while (hits != 0) {
        size_t bit = (size_t)__builtin_ctzll(hits), group = bit / GROUP_ROWS, row = bit % GROUP_ROWS;
        hits &= hits - 1;
        const float *factors = tile->rows.factors[group] + row;
        omendb_interval score = query_interval(
            &seeker->query, factors[0], factors[GROUP_ROWS], factors[2 * GROUP_ROWS], dots[bit]);
        size_t slot = tile->groups[group] * (size_t)GROUP_ROWS + row;
        omendb_offered offered = candidates_offer(&seeker->candidates, slot, score);
        if (offered == NO_MEMORY)
            return false;
        if (offered == GIVEN_UP) {
            seeker->given_up = work->gave_up = true;
            return true;
        }
    }
    if (seeker->candidates.threshold != before)
        aim(work, place);
    return true;
}

static void swap_places(Work *work, size_t a, size_t b)
{
    if (a == b)
        return;
    omendb_queries *queries = &work->queries;
    Seeker seeker = work->seekers[a];
    work->seekers[a] = work->seekers[b];
    work->seekers[b] = seeker;
    work->order[work->seekers[a].asked] = a;
    work->order[work->seekers[b].asked] = b;
    /* b's tile state goes to a; a's is not needed any more. */
    size_t bytes = queries->steps * sizeof *queries->codes;
    memcpy(queries->codes + a * queries->steps, queries->codes + b * queries->steps, bytes);
    queries->starts[a] = queries->starts[b];
    queries->alpha[a] = queries->alpha[b];
    queries->beta[a] = queries->beta[b];
    queries->theta[a] = queries->theta[b];
}

/* Move seekers that are given up behind the others; where those end. */
static size_t leave_out_given_up(Work *work, size_t first, size_t stop)
{
    for (size_t place = first; place < stop;) {
        if (work->seekers[place].given_up)
            swap_places(work, place, --stop);
        else
            place++;
    }
    return stop;
}

/* One tile for the seekers first ... stop - 1. False if there is no memory. */
static bool pass_tile(Work *work, size_t first, size_t stop, const Tile *tile)
{
    const omendb_scan *scan = work->scan;
    int32_t dots[TILE_QUERIES][TILE_ROWS];
    uint64_t hits[TILE_QUERIES], mask = 0;
    size_t parts = (stop - first + TILE_QUERIES - 1) / TILE_QUERIES;
    for (size_t part = 0, from = first; part < parts; part++) {
        size_t count = (stop - from + parts - part - 1) / (parts - part);
        scan->kernel->tile(&tile->rows, &work->queries, from, count, hits, dots);
        for (size_t i = 0; i < count; i++) {
            const Seeker *seeker = &work->seekers[from + i];
            if (from + i == first || seeker->mask != seeker[-1].mask)
                mask = tile_mask(tile, mask_at(scan, seeker->mask));
            if ((hits[i] & mask) != 0 && !take(work, from + i, tile, hits[i] & mask, dots[i]))
                return false;
        }
        from += count;
    }
    return true;
}

static bool pass(Work *work, size_t first, size_t stop)
{
    Cursor cursor = start_of(work, first, stop);
    Tile tile;
    stop = leave_out_given_up(work, first, stop);
    while (first < stop && next_tile(&cursor, &tile)) {
        work->gave_up = false;
        if (!pass_tile(work, first, stop, &tile))
            return false;
        if (work->gave_up)
            stop = leave_out_given_up(work, first, stop);
    }
    return true;
}

/* -- the whole ----------------------------------------------------------------------------------*/

static bool all_passes(Work *work)
{
    size_t count = work->scan->count;
    for (size_t first = 0, stop; first < count; first = stop) {
        bool alone = work->is_alone[work->seekers[first].mask];
        size_t mask = work->seekers[first].mask;
        for (stop = first + 1; stop < count; stop++) {
            const Seeker *seeker = &work->seekers[stop];
            if (alone ? seeker->mask != mask : work->is_alone[seeker->mask])
                break;
        }
        if (!pass(work, first, stop))
            return false;
    }
    return true;
}

/* Have every row scored for the seekers that were given up. False if there is no memory. */
static bool be_thorough(Work *work)
{
    const omendb_scan *scan = work->scan;
    size_t count = 0;
    omendb_thorough *queries = NULL;
    for (size_t i = 0; i < scan->count; i++)
        count += work->seekers[i].given_up;
    *scan->thorough = count;
    if (count == 0)
        return true;
    if ((queries = malloc(count * sizeof *queries)) == NULL)
        return false;
    count = 0;
    for (size_t i = 0; i < scan->count; i++) {
        Seeker *seeker = &work->seekers[i];
        if (!seeker->given_up)
            continue;
        seeker->candidates.best.held = 0;
        queries[count++] = (omendb_thorough){
            .query = scan->queries + seeker->asked * scan->rows.dim,
            .mask = mask_at(scan, seeker->mask),
            .floor = seeker->candidates.min_score,
            .best = seeker->candidates.best,
        };
    }
    score_every_row(&scan->rows, queries, count);
    for (size_t i = 0, next = 0; i < scan->count; i++)
        if (work->seekers[i].given_up)
            work->seekers[i].candidates.best = queries[next++].best;
    free(queries);
    return true;
}

static int64_t decide(Work *work)
{
    const omendb_scan *scan = work->scan;
    int64_t total = 0;
    for (size_t asked = 0; asked < scan->count; asked++) {
        Seeker *seeker = &work->seekers[work->order[asked]];
        if (!seeker->given_up)
            candidates_decide(&seeker->candidates);
        int64_t found =
            candidates_write(&seeker->candidates, scan->slots + total, scan->scores + total);
        scan->counts[asked] = (uint32_t)found;
        total += found;
    }
    return total;
}

int64_t omendb_top_k(const omendb_scan *scan)
{
    Work work = {.scan = scan};
    int64_t total = -1;
    if (scan->count == 0)
        return 0;
    bool fine = get_memory(&work);
    if (fine) {
        plan(&work);
        for (size_t i = 0; i < scan->count && fine; i++)
            fine = prepare(&work, i);
    }
    if (fine && all_passes(&work) && be_thorough(&work))
        total = decide(&work);
    free_work(&work);
    return total;
}
