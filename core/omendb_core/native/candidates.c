/* Candidates of one query; see candidates.h. */
#include "candidates.h"

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
/* Keys that need no memory of their own. */
#define FEW 64

bool candidates_begin(omendb_candidates *candidates, size_t k, float min_score, size_t rows)
{
    memset(candidates, 0, sizeof *candidates);
    candidates->best.most = k;
    candidates->min_score = candidates->threshold = min_score;
    candidates->most = ALWAYS_KEPT + 8 * k + rows / KEPT_OF_ROWS;
    candidates->patience = ALWAYS_OFFERED + 64 * k + rows / OFFERED_OF_ROWS;
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

static void learn(omendb_candidates *candidates, float lower)
{
    if (!best_offer(&candidates->best, key_of(lower, 0)))
        return;
    float least = score_in(candidates->best.keys[0]);
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

omendb_offered candidates_offer(omendb_candidates *candidates, size_t slot, omendb_interval score)
{
    if (!(score.upper >= candidates->threshold))
        return KEPT;
    if (candidates->patience-- == 0)
        return GIVEN_UP;
    if (candidates->count == candidates->room) {
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
    entry->upper = score.upper;
    learn(candidates, score.lower);
    return KEPT;
}

static void fetch(const omendb_rows *rows, size_t slot)
{
    const char *row = (const char *)(rows->vectors + slot * rows->dim);
    for (size_t at = 0; at < rows->dim * sizeof(float); at += 64)
        __builtin_prefetch(row + at);
}

/* Keys of the candidates that reach min_score; how many. */
static size_t score_all(
    const omendb_candidates *candidates, const omendb_rows *rows, const float *query, uint64_t *keys)
{
    size_t found = 0, count = candidates->count;
    for (size_t i = 0; i < AHEAD && i < count; i++)
        fetch(rows, candidates->list[i].slot);
    for (size_t i = 0; i < count; i++) {
        size_t slot = candidates->list[i].slot;
        if (i + AHEAD < count)
            fetch(rows, candidates->list[i + AHEAD].slot);
        const float *row = rows->vectors + slot * rows->dim;
        float score = rows->lanes->score(rows->is_l2, row, query, rows->dim);
        if (score >= candidates->min_score)
            keys[found++] = key_of(score, age_of(rows, slot));
    }
    return found;
}

int64_t candidates_write(
    const omendb_rows *rows, const uint64_t *keys, size_t count, int64_t *slots, float *scores)
{
    for (size_t i = 0; i < count; i++) {
        slots[i] = slot_of(rows, age_in(keys[i]));
        scores[i] = score_in(keys[i]);
    }
    return (int64_t)count;
}

int64_t candidates_decide(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, int64_t *slots,
    float *scores)
{
    drop_hopeless(candidates);
    uint64_t few[FEW], *keys = few;
    if (candidates->count > FEW && (keys = malloc(candidates->count * sizeof *keys)) == NULL)
        return -1;
    size_t found = score_all(candidates, rows, query, keys), k = candidates->best.most;
    sort_descending(keys, found);
    int64_t written = candidates_write(rows, keys, found < k ? found : k, slots, scores);
    if (keys != few)
        free(keys);
    return written;
}
