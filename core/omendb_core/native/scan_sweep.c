/* A pass for one query, which waits for memory: it reads half as much.
 *
 * The high nibbles of all rows are swept over; they tell which groups of 16 rows may hold one that reaches
 * the threshold, by the argument of bounds.c: nibbles and their factors are a shadow like any other, of
 * longer errors. Of these groups the codes are looked at, four groups a tile, and what passes there goes
 * the way of every pass.
 *
 * Words go by runs (scan_tiles.h), and those that hold no row of the mask are passed over: of 20, 50 and 80% of
 * the rows, one behind the other, a query takes 0.72, 0.61 and 0.80 of the time of the codes alone. Where so
 * many groups pass that reading both costs more (at the beginning, until the threshold has risen; normal
 * data of many dimensions), words are looked at by their codes alone, for longer each time.
 */
#include "scan_sweep.h"

#include "helpers.h"
#include "scan_tiles.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The tiles are aimed anew behind so many words, at first behind one. */
#define STRETCH_WORDS 32
/* A sweep takes half of what the codes take, and a group that passes twice as long as one of many does. So
 * where more than this pass, up to so many stretches go by the codes alone; where nearly all do, as of normal
 * data of 768 dimensions, it will not soon be otherwise. (100,000 x 128 without clusters: with a half and 4
 * rests a third more time than with codes alone, with a quarter and 16 as much, with this 0.9.) */
#define MANY_PASS 0.18
#define SOME_RESTS 16
#define NEARLY_ALL_PASS 0.9
#define MOST_RESTS 32
/* Of the codes of a group so many bytes are fetched ahead. */
#define FETCHED_BYTES 4096

/* A pass that several threads share: each takes the newest run that is left, and has candidates of its own
 * until the end; but there is one threshold. */
typedef struct {
    scan_work *work;
    size_t place;
    omendb_sweeping query;
    size_t words, newest;
    atomic_size_t next_run;
    _Atomic double threshold;
    atomic_bool has_ended; /* given up, or no memory */
    atomic_bool has_memory;
    omendb_candidates *found; /* [helpers] of those who joined */
    atomic_size_t joined;
    size_t helpers;
} Pass;

typedef struct {
    Pass *pass;
    scan_work *work; /* the thread's own */
    size_t place;
    const uint64_t *mask;
    omendb_sweeping query;
    /* Groups that passed, and are to be looked at: their codes are on their way. */
    uint32_t groups[(STRETCH_WORDS + 1) * TILE_GROUPS];
    uint16_t wanted[(STRETCH_WORDS + 1) * TILE_GROUPS];
    size_t waiting;
    size_t resting, next_rest; /* so many stretches more go by the codes */
    size_t words;              /* of the next stretch */
} Sweeper;

bool scan_may_sweep(const scan_work *work, size_t place)
{
    const omendb_scan *scan = work->scan;
    const size_t mask = work->seekers[place].mask;
    const size_t all = (scan->rows.used + GROUP_ROWS - 1) / GROUP_ROWS;
    const size_t swept = TILE_GROUPS * work->words_of[mask] < all ? TILE_GROUPS * work->words_of[mask] : all;
    return scan->shadow.nibbles != NULL && 4 * work->groups_of[mask] >= 3 * swept;
}

/* Look at `count` of the groups that wait, from `first` on, by their codes. False if there is no memory. */
static bool look(Sweeper *sweeper, size_t first, size_t count)
{
    const scan_work *work = sweeper->work;
    int32_t dots[1][TILE_ROWS];
    uint64_t hits[1], wanted = 0;
    scan_tile tile;
    scan_set_tile(work, sweeper->groups + first, count, &tile);
    for (size_t g = 0; g < count; g++)
        wanted |= (uint64_t)sweeper->wanted[first + g] << (g * GROUP_ROWS);
    work->scan->kernel->tile(&tile.rows, &work->queries, sweeper->place, 1, hits, dots);
    hits[0] &= wanted;
    return hits[0] == 0 || scan_take(sweeper->work, sweeper->place, &tile, hits[0], dots[0]);
}

/* Look at those that wait until less than `least` do. False if there is no memory. */
static bool look_at_waiting(Sweeper *sweeper, size_t least)
{
    size_t first = 0;
    while (sweeper->waiting - first >= least) {
        const size_t left = sweeper->waiting - first;
        const size_t count = left < TILE_GROUPS ? left : TILE_GROUPS;
        if (!look(sweeper, first, count))
            return false;
        first += count;
    }
    sweeper->waiting -= first;
    memmove(sweeper->groups, sweeper->groups + first, sweeper->waiting * sizeof *sweeper->groups);
    memmove(sweeper->wanted, sweeper->wanted + first, sweeper->waiting * sizeof *sweeper->wanted);
    return true;
}

static inline void fetch_group(const Sweeper *sweeper, size_t group)
{
    const omendb_shadow *shadow = &sweeper->work->scan->shadow;
    const size_t bytes = sweeper->work->queries.steps * STEP_BYTES;
    const uint8_t *codes = shadow->codes + group * bytes;
    const float *factors = shadow->factors + group * FACTORS * GROUP_ROWS;
    for (size_t at = 0; at < bytes && at < FETCHED_BYTES; at += STEP_BYTES)
        __builtin_prefetch(codes + at);
    for (size_t at = 0; at < FACTORS; at++)
        __builtin_prefetch(factors + at * GROUP_ROWS);
}

/* Which rows of the words first ... first + count - 1 are to be looked at. */
static void find(Sweeper *sweeper, size_t first, size_t count, uint64_t *hits)
{
    const omendb_shadow *shadow = &sweeper->work->scan->shadow;
    const size_t word_bytes = TILE_GROUPS * sweeper->query.steps * STEP_BYTES;
    if (sweeper->resting > 0) {
        memset(hits, 0xff, count * sizeof *hits);
        return;
    }
    const scan_seeker *seeker = &sweeper->work->seekers[sweeper->place];
    omendb_sweeping *query = &sweeper->query;
    query->second = query_aim_coarse(
        &seeker->query, seeker->reach, &query->alpha, &query->beta, &query->theta);
    sweeper->work->scan->kernel->sweep(
        shadow->nibbles + first * word_bytes,
        shadow->coarse + first * TILE_GROUPS * COARSE_FACTORS * GROUP_ROWS, count, query, hits);
}

/* Have the groups that hold any of the rows in `hits` looked at, of the words from first on; how many. */
static size_t note(Sweeper *sweeper, size_t first, size_t count, const uint64_t *hits)
{
    const size_t before = sweeper->waiting;
    for (size_t word = 0; word < count; word++) {
        uint64_t left = hits[word] & sweeper->mask[first + word];
        while (left != 0) {
            const size_t g = (size_t)__builtin_ctzll(left) / GROUP_ROWS;
            const size_t group = (first + word) * TILE_GROUPS + g;
            const uint64_t rows = left & (uint64_t)0xffff << (g * GROUP_ROWS);
            left ^= rows;
            if (sweeper->resting == 0)
                fetch_group(sweeper, group);
            sweeper->groups[sweeper->waiting] = (uint32_t)group;
            sweeper->wanted[sweeper->waiting++] = (uint16_t)(rows >> (g * GROUP_ROWS));
        }
    }
    return sweeper->waiting - before;
}

/* After a sweep that let such a part of the groups pass. */
static void rest(Sweeper *sweeper, double passed)
{
    const size_t most = passed > NEARLY_ALL_PASS ? MOST_RESTS : SOME_RESTS;
    if (passed <= MANY_PASS) {
        sweeper->next_rest = 1;
        return;
    }
    sweeper->resting = sweeper->next_rest < most ? sweeper->next_rest : most;
    sweeper->next_rest = 2 * sweeper->resting;
}

/* Under decay: aim at the rows of a stretch. Whether any of them may be among the best. */
static bool aim_at_stretch(const Sweeper *sweeper, size_t first, size_t count)
{
    const scan_work *work = sweeper->work;
    scan_seeker *seeker = &work->seekers[sweeper->place];
    seeker->bias = scan_words_time(work, sweeper->mask, first, count) / seeker->candidates.order.half_life;
    scan_aim(work, sweeper->place);
    return seeker->reach <= scan_most_score(work->scan);
}

/* False if there is no memory. */
static bool stretch(Sweeper *sweeper, size_t first, size_t count)
{
    const bool is_decayed = sweeper->work->scan->times != NULL;
    uint64_t hits[STRETCH_WORDS];
    if (is_decayed && !aim_at_stretch(sweeper, first, count))
        return true;
    find(sweeper, first, count, hits);
    /* Those of the last stretch, which have come into the cache meanwhile. */
    if (!look_at_waiting(sweeper, TILE_GROUPS))
        return false;
    const size_t passed = note(sweeper, first, count, hits);
    const bool is_resting = sweeper->resting > 0;
    if (is_resting)
        sweeper->resting--;
    else
        rest(sweeper, (double)passed / (double)(count * TILE_GROUPS));
    if (is_decayed) /* the next stretch is aimed at for itself */
        return look_at_waiting(sweeper, 1);
    return !is_resting || look_at_waiting(sweeper, TILE_GROUPS);
}

/* Between the stretches of a thread: the threshold of all. */
static void share_threshold(Sweeper *sweeper)
{
    omendb_candidates *mine = &sweeper->work->seekers[sweeper->place].candidates;
    _Atomic double *common = &sweeper->pass->threshold;
    double known = atomic_load_explicit(common, memory_order_relaxed);
    if (known > mine->threshold) {
        candidates_learn(mine, known);
        scan_aim(sweeper->work, sweeper->place);
    }
    while (mine->threshold > known &&
           !atomic_compare_exchange_weak_explicit(
               common, &known, mine->threshold, memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* How many of the next words hold rows, one behind the other, at most `most`. */
static size_t wanted_words(const uint64_t *mask, size_t count, size_t most)
{
    size_t words = 0;
    while (words < count && words < most && mask[words] != 0)
        words++;
    return words;
}

/* The words first ... first + count - 1, upwards, of which those that hold rows. False if there is no memory. */
static bool words_up(Sweeper *sweeper, size_t first, size_t count)
{
    for (size_t done = 0, words; done < count; done += words) {
        words = wanted_words(sweeper->mask + first + done, count - done, sweeper->words);
        if (words == 0) {
            words = 1;
            continue;
        }
        if (sweeper->work->seekers[sweeper->place].given_up)
            return true;
        if (sweeper->pass->helpers > 0)
            share_threshold(sweeper);
        if (!stretch(sweeper, first + done, words))
            return false;
        sweeper->words = 2 * sweeper->words < STRETCH_WORDS ? 2 * sweeper->words : STRETCH_WORDS;
    }
    return true;
}

/* The run at `run`, counted from the newest. False if there is no memory. */
static bool one_run(Sweeper *sweeper, size_t run)
{
    const size_t words = sweeper->pass->words, last = run * RUN_WORDS, left = words - last;
    const size_t count = left < RUN_WORDS ? left : RUN_WORDS;
    const size_t first = (sweeper->pass->newest + words - (last + count - 1)) % words;
    const size_t before_end = words - first < count ? words - first : count;
    return words_up(sweeper, first, before_end) && words_up(sweeper, 0, count - before_end);
}

/* Take runs until there are none. False if there is no memory. */
static bool all_runs(Pass *pass, scan_work *work, size_t place)
{
    const scan_seeker *seeker = &work->seekers[place];
    Sweeper sweeper = {.pass = pass, .work = work, .place = place, .query = pass->query};
    sweeper.mask = scan_mask_at(work->scan, seeker->mask);
    sweeper.resting = sweeper.next_rest = sweeper.words = 1;
    while (!seeker->given_up && !atomic_load_explicit(&pass->has_ended, memory_order_relaxed)) {
        const size_t run = atomic_fetch_add_explicit(&pass->next_run, 1, memory_order_relaxed);
        if (run * RUN_WORDS >= pass->words)
            break;
        if (!one_run(&sweeper, run))
            return false;
    }
    if (seeker->given_up) {
        atomic_store(&pass->has_ended, true);
        return true;
    }
    return look_at_waiting(&sweeper, 1) && scan_offer_rest(work, place, place + 1);
}

/* What a helper does, with a seeker like the pass's. False if there is no memory. */
static bool help(Pass *pass, omendb_candidates *found)
{
    const scan_seeker *given = &pass->work->seekers[pass->place];
    const omendb_candidates *asked = &given->candidates;
    const size_t steps = pass->work->queries.steps;
    float alpha, beta, theta;
    scan_seeker seeker = {.mask = given->mask, .query = given->query, .bias = INFINITY};
    scan_work work = {.scan = pass->work->scan, .seekers = &seeker};
    work.queries = (omendb_queries){
        .steps = steps,
        .codes = pass->work->queries.codes + pass->place * steps,
        .starts = pass->work->queries.starts + pass->place,
        .alpha = &alpha,
        .beta = &beta,
        .theta = &theta,
    };
    seeker.waiting.most = given->waiting.most;
    bool is_done = candidates_begin(
        &seeker.candidates, asked->rows, asked->query, asked->order, asked->best.most,
        asked->min_score, (size_t)pass->work->rows_of[given->mask]);
    if (is_done) {
        scan_aim(&work, 0);
        is_done = all_runs(pass, &work, 0);
    }
    *found = seeker.candidates;
    return is_done;
}

static void take_part(void *job)
{
    Pass *pass = job;
    const size_t number = atomic_fetch_add(&pass->joined, 1);
    bool has_memory = number == 0 ? all_runs(pass, pass->work, pass->place)
                                  : help(pass, &pass->found[number - 1]);
    if (!has_memory) {
        atomic_store(&pass->has_memory, false);
        atomic_store(&pass->has_ended, true);
    }
}

/* What all have found, in the pass's seeker. False if there is no memory. */
static bool bring_together(Pass *pass)
{
    scan_seeker *seeker = &pass->work->seekers[pass->place];
    bool is_done = atomic_load(&pass->has_memory);
    if (atomic_load(&pass->has_ended))
        seeker->given_up = pass->work->gave_up = true;
    for (size_t i = 0; i < pass->helpers; i++) {
        if (is_done && !seeker->given_up && pass->found[i].list != NULL)
            is_done = candidates_merge(&seeker->candidates, &pass->found[i]);
        candidates_free(&pass->found[i]);
    }
    return is_done;
}

static bool begin(Pass *pass, scan_work *work, size_t place)
{
    const omendb_scan *scan = work->scan;
    const size_t steps = shadow_coarse_steps(scan->shadow.dim), fine_steps = work->queries.steps;
    const size_t words = (scan->rows.used + TILE_ROWS - 1) / TILE_ROWS;
    int32_t *codes = calloc(2 * steps, sizeof *codes);
    *pass = (Pass){.work = work, .place = place, .words = words};
    pass->newest = (scan->rows.oldest + scan->rows.slots - 1) % scan->rows.slots / TILE_ROWS;
    atomic_store(&pass->threshold, -INFINITY);
    atomic_store(&pass->has_memory, true);
    pass->query.steps = steps;
    pass->query.codes = codes;
    if (codes == NULL)
        return false;
    memcpy(codes, work->queries.codes + place * fine_steps, fine_steps * sizeof *codes);
    /* starts are -128 times the sum of p. */
    pass->query.start = work->queries.starts[place] / 128 * NIBBLE_ZERO;
    const size_t runs = (words + RUN_WORDS - 1) / RUN_WORDS;
    const size_t threads = scan->threads < runs ? scan->threads : runs;
    pass->helpers = threads > 1 ? threads - 1 : 0;
    pass->found = calloc(pass->helpers + 1, sizeof *pass->found);
    return pass->found != NULL;
}

bool scan_sweep(scan_work *work, size_t place)
{
    Pass pass;
    bool is_done = begin(&pass, work, place);
    if (is_done) {
        helpers_do(take_part, &pass, pass.helpers);
        is_done = bring_together(&pass);
    }
    free((void *)pass.query.codes);
    free(pass.found);
    return is_done;
}
