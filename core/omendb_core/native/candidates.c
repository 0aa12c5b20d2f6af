/* Candidates of one query; see candidates.h. */
#include "candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256
/* A row offered takes 15 ns, one that is decided 60 ns; to score every row takes 3 ns for each. So
 * giving up after these (beside k) costs less than half of what is left to do. */
#define ALWAYS_KEPT 512
#define ALWAYS_OFFERED 1024
#define KEPT_OF_ROWS 64
#define OFFERED_OF_ROWS 32
/* Rows that are on their way into the cache while one is scored. */
#define AHEAD 4

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
    candidates->list = malloc(candidates->room * sizeof *candidates->list);
    return candidates->best.keys != NULL && candidates->list != NULL;
}

void candidates_free(omendb_candidates *candidates)
{
    free(candidates->best.keys);
    free(candidates->list);
    candidates->best.keys = NULL;
    candidates->list = NULL;
}

static void learn(omendb_candidates *candidates, double lower)
{
    best_keys *best = &candidates->best;
    if (best->held == best->most && !(lower > best->keys[0].value))
        return;
    if (!best_offer(best, (row_key){.value = lower}))
        return;
    double least = best->keys[0].value;
    if (least > candidates->threshold)
        candidates->threshold = least;
}

static void drop_hopeless(omendb_candidates *candidates)
{
    size_t kept = 0;
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->list[i].upper >= candidates->threshold)
            candidates->list[kept++] = candidates->list[i];
    candidates->count = kept;
}

static void fetch(const omendb_rows *rows, size_t slot)
{
    const char *row = (const char *)(rows->vectors + slot * rows->dim);
    for (size_t at = 0; at < rows->dim * sizeof(float); at += 64)
        __builtin_prefetch(row + at);
}

/* Put the `first` entries with the largest upper bounds in front (Hoare's selection). */
static void select_first(omendb_candidate *list, size_t count, size_t first)
{
    size_t low = 0, high = count;
    while (high - low > 1 && low < first) {
        double pivot = list[low + (high - low) / 2].upper;
        size_t i = low, j = high - 1;
        for (;;) {
            while (list[i].upper > pivot)
                i++;
            while (list[j].upper < pivot)
                j--;
            if (i >= j)
                break;
            omendb_candidate swapped = list[i];
            list[i++] = list[j];
            list[j--] = swapped;
        }
        /* low … i - 1 are at least the pivot, i … high - 1 at most. */
        if (i == low)
            i++;
        if (i <= first)
            low = i;
        else
            high = i;
    }
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

/* Its value if it may be among the best, else -inf. */
static double scored(const omendb_candidates *candidates, omendb_candidate *entry)
{
    if (isnan(entry->score)) {
        entry->score = score_of(candidates, entry->slot);
        double value = value_of(candidates, entry->slot, entry->score);
        entry->upper = isnan(value) ? -INFINITY : value;
    }
    return entry->upper;
}

/* Score the k likeliest: the least of these is a better threshold than any bound. */
static void sharpen(omendb_candidates *candidates)
{
    size_t k = candidates->best.most;
    double least = INFINITY;
    if (candidates->count < k)
        return;
    select_first(candidates->list, candidates->count, k);
    for (size_t i = 0; i < k; i++)
        if (isnan(candidates->list[i].score))
            fetch(candidates->rows, candidates->list[i].slot);
    for (size_t i = 0; i < k; i++)
        least = fmin(least, scored(candidates, &candidates->list[i]));
    if (least > candidates->threshold)
        candidates->threshold = least;
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
        drop_hopeless(candidates);
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
    entry->score = NAN;
    learn(candidates, least);
    return KEPT;
}

void candidates_decide(omendb_candidates *candidates)
{
    const omendb_rows *rows = candidates->rows;
    best_keys *best = &candidates->best;
    drop_hopeless(candidates);
    omendb_candidate *list = candidates->list;
    size_t count = candidates->count;
    /* The likeliest first: what they score leaves half of the others out, or more. */
    if (count > best->most)
        select_first(candidates->list, count, best->most);
    best->held = 0;
    double threshold = least_value(candidates);
    for (size_t i = 0; i < AHEAD && i < count; i++)
        fetch(rows, list[i].slot);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count && list[i + AHEAD].upper >= threshold)
            fetch(rows, list[i + AHEAD].slot);
        if (!(list[i].upper >= threshold))
            continue;
        double value = scored(candidates, &list[i]);
        row_key key = {value, age_of(rows, list[i].slot), list[i].score};
        if (value > -INFINITY && value >= threshold && best_offer(best, key) && best->keys[0].value > threshold)
            threshold = best->keys[0].value;
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
