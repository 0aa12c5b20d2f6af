/* The best rows of a ring for many queries: the shadow finds candidates, the definition decides.
 *
 * The outer loop runs over tiles of 64 rows, the newest run of them first, the inner one over the
 * queries, so that a tile stays in the first cache for all of them, and memory is read once. What passes
 * a tile waits until there are a few (scan_offers.c); then their bounds raise the query's threshold, and so
 * the next tile is aimed better. A few dozen rows a query are left in the end, and scored.
 *
 * scan_setup.c decides which queries share a pass, scan_tiles.c which tiles it goes through, and one query
 * by itself goes by less than its codes first (scan_sweep.c). Where a mask holds few rows these are scored,
 * and so is every row for a query of which the bounds tell too little: it is given up here (scan_scored.c).
 */
#include "scan_scored.h"
#include "scan_sweep.h"
#include "scan_tiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Under decay a query is aimed anew where the latest time of a tile is so much of a half-life before the
 * one that it was aimed at: rows of 2% less than they need pass meanwhile, to be looked at one by one.
 * Where times go up and down, so that it is aimed up again, twice as much each time: up to so much. */
#define AIMED_APART 0x1p-5
#define MOST_APART 0x1p-1

/* Where times only fall, those of so many words are not asked that come behind one: each is a miss of the
 * caches (100,000 x 128 by time of acceptance, over ten half-lives 100 us instead of 108). */
#define UNASKED_WORDS 7

/* So many queries ask for the times of most lines of a tile. */
#define MANY_SEEKERS 8

/* -- a pass -------------------------------------------------------------------------------------*/

static void swap_places(scan_work *work, size_t a, size_t b)
{
    if (a == b)
        return;
    omendb_queries *queries = &work->queries;
    scan_seeker seeker = work->seekers[a];
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
static size_t leave_out_given_up(scan_work *work, size_t first, size_t stop)
{
    for (size_t place = first; place < stop;) {
        if (work->seekers[place].given_up)
            swap_places(work, place, --stop);
        else
            place++;
    }
    return stop;
}

/* Under decay: aim the seekers at the rows of a tile. Whether any may find one there. */
static bool aim_at_tile(scan_work *work, size_t first, size_t stop, const scan_tile *tile)
{
    const float most = scan_most_score(work->scan);
    if (tile->is_word && work->unasked > 0) {
        work->unasked--;
        return work->may_find;
    }
    double time = scan_tile_time(work, tile);
    work->unasked = scan_times_fall_from(work, tile) ? UNASKED_WORDS : 0;
    if (time <= work->latest && time > work->earliest)
        return work->may_find;
    work->latest = INFINITY;
    work->earliest = -INFINITY;
    work->may_find = false;
    for (size_t place = first; place < stop; place++) {
        scan_seeker *seeker = &work->seekers[place];
        if (!(time <= seeker->latest && time > seeker->earliest)) {
            double half_life = seeker->candidates.order.half_life;
            if (time > seeker->latest && seeker->apart < MOST_APART)
                seeker->apart = seeker->apart > 0 ? 2 * seeker->apart : AIMED_APART;
            seeker->latest = time;
            seeker->bias = time / half_life;
            seeker->earliest = time - half_life * seeker->apart;
            scan_aim(work, place);
        }
        work->latest = seeker->latest < work->latest ? seeker->latest : work->latest;
        work->earliest = seeker->earliest > work->earliest ? seeker->earliest : work->earliest;
        work->may_find |= seeker->reach <= most;
    }
    return work->may_find;
}

/* One tile for the seekers first ... stop - 1. False if there is no memory. */
static bool pass_tile(
    scan_work *work, size_t first, size_t stop, const scan_tile *tile, const scan_tile *next)
{
    const omendb_scan *scan = work->scan;
    int32_t dots[TILE_QUERIES][TILE_ROWS];
    uint64_t hits[TILE_QUERIES], mask = 0;
    size_t parts = (stop - first + TILE_QUERIES - 1) / TILE_QUERIES;
    if (scan->times != NULL && !aim_at_tile(work, first, stop, tile))
        return true;
    if (scan->times != NULL && stop - first >= MANY_SEEKERS)
        scan_fetch_times(scan, tile);
    for (size_t part = 0, from = first; part < parts; part++) {
        size_t count = (stop - from + parts - part - 1) / (parts - part);
        if (next != NULL)
            scan_fetch_tile(work, next, part, parts);
        scan->kernel->tile(&tile->rows, &work->queries, from, count, hits, dots);
        for (size_t i = 0; i < count; i++) {
            const scan_seeker *seeker = &work->seekers[from + i];
            if (from + i == first || seeker->mask != seeker[-1].mask)
                mask = scan_tile_mask(tile, scan_mask_at(scan, seeker->mask));
            if ((hits[i] & mask) != 0 && !scan_take(work, from + i, tile, hits[i] & mask, dots[i]))
                return false;
        }
        from += count;
    }
    return true;
}

static bool pass(scan_work *work, size_t first, size_t stop)
{
    scan_cursor cursor = scan_start(work, first, stop);
    scan_tile tiles[2];
    work->latest = -INFINITY;
    work->unasked = 0;
    stop = leave_out_given_up(work, first, stop);
    if (stop - first == 1 && scan_may_sweep(work, first))
        return scan_sweep(work, first);
    bool is_there = first < stop && scan_next_tile(&cursor, &tiles[0]);
    for (size_t at = 0; first < stop && is_there; at ^= 1) {
        work->gave_up = false;
        is_there = scan_next_tile(&cursor, &tiles[at ^ 1]);
        if (!pass_tile(work, first, stop, &tiles[at], is_there ? &tiles[at ^ 1] : NULL))
            return false;
        if (work->gave_up)
            stop = leave_out_given_up(work, first, stop);
    }
    return scan_offer_rest(work, first, stop);
}

/* A pass of a mask whose rows are scored. False if there is no memory. */
static bool pass_scored(const scan_work *work, size_t first, size_t stop)
{
    for (size_t place = first; place < stop; place++)
        work->chosen[place - first] = &work->seekers[place];
    return scan_score(work, work->chosen, stop - first);
}

/* -- the whole ----------------------------------------------------------------------------------*/

static bool all_passes(scan_work *work)
{
    size_t count = work->scan->count;
    for (size_t first = 0, stop; first < count; first = stop) {
        bool alone = work->is_alone[work->seekers[first].mask];
        size_t mask = work->seekers[first].mask;
        for (stop = first + 1; stop < count; stop++) {
            const scan_seeker *seeker = &work->seekers[stop];
            if (alone ? seeker->mask != mask : work->is_alone[seeker->mask])
                break;
        }
        if (!(work->is_scored[mask] ? pass_scored(work, first, stop) : pass(work, first, stop)))
            return false;
    }
    return true;
}

/* Score the rows of their mask for the seekers that were given up, mask by mask. False if there
 * is no memory. */
static bool be_thorough(scan_work *work)
{
    const omendb_scan *scan = work->scan;
    size_t found = 0;
    for (size_t mask = 0; mask < scan->mask_count; mask++) {
        size_t count = 0;
        for (size_t i = 0; i < scan->count; i++) {
            scan_seeker *seeker = &work->seekers[i];
            if (!seeker->given_up || seeker->mask != mask)
                continue;
            seeker->is_scored = true;
            work->chosen[count++] = seeker;
        }
        if (count > 0 && !scan_score(work, work->chosen, count))
            return false;
        found += count;
    }
    *scan->thorough = found;
    return true;
}

static int64_t decide(scan_work *work)
{
    const omendb_scan *scan = work->scan;
    int64_t total = 0;
    for (size_t asked = 0; asked < scan->count; asked++) {
        scan_seeker *seeker = &work->seekers[work->order[asked]];
        if (!seeker->is_scored)
            candidates_decide(&seeker->candidates);
        int64_t found = candidates_write(
            &seeker->candidates, scan->slots + total, scan->scores + total,
            scan->times == NULL ? NULL : scan->values + total);
        scan->counts[asked] = (uint32_t)found;
        total += found;
    }
    return total;
}

int64_t omendb_top_k(const omendb_scan *scan)
{
    scan_work work = {.scan = scan};
    int64_t total = -1;
    if (scan->count == 0)
        return 0;
    if (scan_set_out(&work) && all_passes(&work) && be_thorough(&work))
        total = decide(&work);
    scan_free(&work);
    return total;
}
