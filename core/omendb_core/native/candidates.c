/* Candidates of one query; see candidates.h. */
#include "candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* To score the likeliest where there are fewer costs more than it leaves out (k = 100 with 256: 6% more). */
#define FIRST_ROOM 1024
/* A row offered takes 15 ns, one that is decided 60 ns; to score every row takes 3 ns for each. So
 * giving up after these (beside k) costs less than half of what is left to do. */
#define ALWAYS_KEPT 512
#define ALWAYS_OFFERED 1024
#define KEPT_OF_ROWS 64
#define OFFERED_OF_ROWS 32
/* So much of rows is on its way into the cache at once, before any of them is scored. */
#define FETCHED_FLOATS ((size_t)1 << 15)

/* What a row's value is at least, whatever else there is. */
static double least_value(const omendb_candidates *candidates)
{
    return is_by_score(&candidates->order) ? candidates->min_score : -INFINITY;
}

bool candidates_begin(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, omendb_order order,
    size_t k, float min_score, size_t masked)
{
    memset(candidates, 0, sizeof *candidates);
    candidates->rows = rows;
    candidates->query = query;
    candidates->best.most = k;
    candidates->order = order;
    candidates->min_score = min_score;
    candidates->threshold = least_value(candidates);
    candidates->most = ALWAYS_KEPT + 8 * k + masked / KEPT_OF_ROWS;
    candidates->patience = ALWAYS_OFFERED + 64 * k + masked / OFFERED_OF_ROWS;
    candidates->room = FIRST_ROOM;
    candidates->best.keys = malloc(k * sizeof *candidates->best.keys);
    candidates->places = malloc(k * sizeof *candidates->places);
    candidates->list = malloc(candidates->room * sizeof *candidates->list);
    return candidates->best.keys != NULL && candidates->places != NULL && candidates->list != NULL;
}

bool candidates_begin_scored(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, omendb_order order,
    size_t k, float min_score)
{
    *candidates = (omendb_candidates){
        .rows = rows, .query = query, .order = order, .min_score = min_score, .best.most = k};
    candidates->threshold = least_value(candidates);
    candidates->best.keys = malloc(k * sizeof *candidates->best.keys);
    return candidates->best.keys != NULL;
}

void candidates_free(omendb_candidates *candidates)
{
    free(candidates->best.keys);
    free(candidates->places);
    free(candidates->list);
    candidates->best.keys = NULL;
    candidates->places = NULL;
    candidates->list = NULL;
}

static inline double larger(double one, double other)
{
    return one > other ? one : other;
}

static inline double smaller(double one, double other)
{
    return one < other ? one : other;
}

/* The threshold, to the highest level that k lower bounds reach. */
static void raise_threshold(omendb_candidates *candidates)
{
    const size_t k = candidates->best.most;
    const omendb_levels *levels = &candidates->levels;
    while (candidates->above - levels->counts[candidates->lowest] >= k)
        candidates->above -= levels->counts[candidates->lowest++];
    if (candidates->above >= k)
        candidates->threshold = larger(candidates->threshold, level_edge(levels, candidates->lowest));
}

/* Count the lower bounds in the list anew, with room for greater ones. */
static void count_levels(omendb_candidates *candidates)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < candidates->count; i++) {
        double lower = candidates->list[i].lower;
        most = larger(most, lower);
        least = lower > -INFINITY ? smaller(least, lower) : least;
    }
    least = larger(least, candidates->threshold);
    levels_begin(&candidates->levels, least, most + (most - least));
    candidates->above = candidates->lowest = 0;
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->list[i].lower >= least) {
            candidates->levels.counts[level_of(&candidates->levels, candidates->list[i].lower)]++;
            candidates->above++;
        }
    candidates->sure = candidates->above;
    candidates->renewed_at = 2 * candidates->above;
    raise_threshold(candidates);
}

/* Of the last one in the list. */
static void learn(omendb_candidates *candidates, double lower)
{
    if (!(lower > candidates->threshold))
        return;
    if (candidates->sure < candidates->best.most) {
        if (++candidates->sure == candidates->best.most)
            count_levels(candidates);
        return;
    }
    size_t level = level_of(&candidates->levels, lower);
    if (level < candidates->lowest || lower < candidates->levels.base)
        return;
    candidates->levels.counts[level]++;
    candidates->above++;
    raise_threshold(candidates);
    bool is_last = candidates->lowest == LEVELS - 1 || candidates->levels.inverse == 0;
    if (is_last && candidates->above >= candidates->renewed_at)
        count_levels(candidates);
}

static void drop_hopeless(omendb_candidates *candidates)
{
    size_t kept = 0;
    for (size_t i = 0; i < candidates->count; i++) {
        candidates->list[kept] = candidates->list[i];
        kept += candidates->list[i].upper >= candidates->threshold;
    }
    candidates->count = kept;
}

/* Have an entry's row on its way into the cache, if it is to be scored. Always inline: gcc 12 takes a
 * function that does nothing else for one without effects, and leaves its calls out. */
static inline __attribute__((always_inline)) void fetch(
    const omendb_candidates *candidates, size_t place)
{
    const omendb_rows *rows = candidates->rows;
    const char *row = (const char *)(rows->vectors + candidates->list[place].slot * rows->dim);
    if (!isnan(candidates->list[place].score))
        return;
    for (size_t at = 0; at < rows->dim * sizeof(float); at += 64)
        __builtin_prefetch(row + at);
}

static size_t rows_fetched(const omendb_candidates *candidates)
{
    return 1 + FETCHED_FLOATS / candidates->rows->dim;
}

static float score_of(const omendb_candidates *candidates, size_t slot)
{
    const omendb_rows *rows = candidates->rows;
    const float *row = rows->vectors + slot * rows->dim;
    return rows->lanes->score(rows->is_l2, row, candidates->query, rows->dim);
}

/* NaN if the row is out. */
static double value_of(const omendb_candidates *candidates, size_t slot, float score)
{
    return score >= candidates->min_score ? order_value(&candidates->order, slot, score) : NAN;
}

static void score_entry(const omendb_candidates *candidates, omendb_candidate *entry)
{
    if (!isnan(entry->score))
        return;
    entry->score = score_of(candidates, entry->slot);
    double value = value_of(candidates, entry->slot, entry->score);
    entry->upper = entry->lower = isnan(value) ? -INFINITY : value;
}

/* Places of the k likeliest: those of the highest levels of upper bounds, and of the one below some. */
static void choose_likeliest(const omendb_candidates *candidates, uint32_t *places)
{
    const omendb_candidate *list = candidates->list;
    const size_t k = candidates->best.most;
    omendb_levels levels;
    double most = -INFINITY;
    size_t lowest = LEVELS, above = 0, found = 0;
    for (size_t i = 0; i < candidates->count; i++)
        most = larger(most, list[i].upper < INFINITY ? list[i].upper : -INFINITY);
    levels_begin(&levels, candidates->threshold, most);
    for (size_t i = 0; i < candidates->count; i++)
        levels.counts[level_of(&levels, list[i].upper)]++;
    while (above < k)
        above += levels.counts[--lowest];
    size_t room = k - (above - levels.counts[lowest]); /* in the lowest level */
    for (size_t i = 0; found < k; i++) {
        size_t level = level_of(&levels, list[i].upper);
        if (level < lowest || (level == lowest && room == 0))
            continue;
        room -= level == lowest;
        places[found++] = (uint32_t)i;
    }
}

/* Score the k likeliest: the least of these is a better threshold than any bound. */
static void sharpen(omendb_candidates *candidates)
{
    const size_t k = candidates->best.most;
    uint32_t *places = candidates->places;
    double least = INFINITY;
    drop_hopeless(candidates);
    if (candidates->count < k)
        return;
    choose_likeliest(candidates, places);
    const size_t step = rows_fetched(candidates);
    for (size_t first = 0, stop; first < k; first = stop) {
        stop = k - first > step ? first + step : k;
        for (size_t i = first; i < stop; i++)
            fetch(candidates, places[i]);
        for (size_t i = first; i < stop; i++) {
            score_entry(candidates, &candidates->list[places[i]]);
            least = smaller(least, candidates->list[places[i]].upper);
        }
    }
    candidates->threshold = larger(candidates->threshold, least);
    count_levels(candidates);
    drop_hopeless(candidates);
}

/* What the value is at most, and at least. NaN or less than the threshold: out, and then not the other. */
static double most_of(
    const omendb_candidates *candidates, size_t slot, omendb_interval score, double *least)
{
    *least = score.lower;
    if (is_by_score(&candidates->order))
        return score.upper;
    double most = decayed_most(&candidates->order, slot, score.upper);
    if (most >= candidates->threshold) {
        /* Below min_score the row itself may be out. */
        bool counts = score.lower >= candidates->min_score;
        *least = counts ? decayed_least(&candidates->order, slot, score.lower) : -INFINITY;
    }
    return most;
}

omendb_offered candidates_offer(omendb_candidates *candidates, size_t slot, omendb_interval score)
{
    double least, most = most_of(candidates, slot, score, &least);
    if (!(most >= candidates->threshold))
        return KEPT;
    if (candidates->patience-- == 0)
        return GIVEN_UP;
    if (candidates->count == candidates->room) {
        sharpen(candidates);
        if (candidates->count > candidates->room / 2) {
            size_t room = 2 * candidates->room;
            if (candidates->room >= candidates->most)
                return GIVEN_UP;
            void *list = realloc(candidates->list, room * sizeof *candidates->list);
            if (list == NULL)
                return NO_MEMORY;
            candidates->list = list;
            candidates->room = room;
        }
    }
    omendb_candidate *entry = &candidates->list[candidates->count++];
    entry->slot = (uint32_t)slot;
    entry->upper = most;
    entry->lower = least;
    entry->score = NAN;
    learn(candidates, least);
    return KEPT;
}

bool candidates_take(omendb_candidates *candidates, size_t slot, float score)
{
    const double value = value_of(candidates, slot, score);
    if (isnan(value))
        return false;
    row_key key = {value, age_of(candidates->rows, slot), score};
    if (!best_offer(&candidates->best, key))
        return false;
    candidates->threshold = candidates->best.keys[0].value;
    return true;
}

bool candidates_merge(omendb_candidates *candidates, const omendb_candidates *others)
{
    const size_t count = candidates->count + others->count;
    if (count > candidates->room) {
        void *list = realloc(candidates->list, count * sizeof *candidates->list);
        if (list == NULL)
            return false;
        candidates->list = list;
        candidates->room = count;
    }
    memcpy(
        candidates->list + candidates->count, others->list, others->count * sizeof *others->list);
    candidates->count = count;
    candidates_learn(candidates, others->threshold);
    return true;
}

/* Offer entries first ... stop - 1 to the best; rows below `threshold` are out. What it is then. */
static double decide_some(
    omendb_candidates *candidates, size_t first, size_t stop, double threshold)
{
    omendb_candidate *list = candidates->list;
    for (size_t i = first; i < stop; i++)
        if (list[i].upper >= threshold)
            fetch(candidates, i);
    for (size_t i = first; i < stop; i++) {
        if (!(list[i].upper >= threshold))
            continue;
        score_entry(candidates, &list[i]);
        row_key key = {list[i].upper, age_of(candidates->rows, list[i].slot), list[i].score};
        if (key.value > -INFINITY && key.value >= threshold && best_offer(&candidates->best, key))
            threshold = larger(threshold, candidates->best.keys[0].value);
    }
    return threshold;
}

void candidates_decide(omendb_candidates *candidates)
{
    const size_t step = rows_fetched(candidates);
    if (candidates->count > candidates->best.most)
        sharpen(candidates);
    double threshold = larger(candidates->threshold, least_value(candidates));
    candidates->best.held = 0;
    for (size_t first = 0; first < candidates->count; first += step) {
        size_t left = candidates->count - first;
        threshold = decide_some(candidates, first, first + (left < step ? left : step), threshold);
    }
}

int64_t candidates_write(
    omendb_candidates *candidates, int64_t *slots, float *scores, double *values)
{
    best_keys *best = &candidates->best;
    sort_keys(best->keys, best->held);
    for (size_t i = 0; i < best->held; i++) {
        slots[i] = slot_of(candidates->rows, best->keys[i].age);
        scores[i] = best->keys[i].score;
        if (!is_by_score(&candidates->order))
            values[i] = best->keys[i].value;
    }
    return (int64_t)best->held;
}
