/* Candidates of one query; see candidates.h. */
#include "candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256
/* A row offered takes 15 ns, one that is scored 60 ns; the numpy reference 2.5 ns a row of the window,
 * in large batches. So giving up after these (beside k, and the window's size) costs half of what it
 * will take then, and small windows, where the reference takes longest, never give up. */
#define ALWAYS_KEPT 2048
#define ALWAYS_OFFERED 8192
/* Rows that are on their way into the cache while one is scored. */
#define AHEAD 4
/* Up to here sorting by insertion is faster than qsort. */
#define FEW 48

bool candidates_begin(omendb_candidates *candidates, size_t k, float min_score, size_t rows)
{
    memset(candidates, 0, sizeof *candidates);
    candidates->k = k;
    candidates->min_score = candidates->threshold = min_score;
    candidates->most = ALWAYS_KEPT + 8 * k + rows / 32;
    candidates->patience = ALWAYS_OFFERED + 64 * k + rows / 8;
    candidates->room = FIRST_ROOM;
    candidates->best = malloc(k * sizeof *candidates->best);
    candidates->list = malloc(candidates->room * sizeof *candidates->list);
    return candidates->best != NULL && candidates->list != NULL;
}

void candidates_free(omendb_candidates *candidates)
{
    free(candidates->best);
    free(candidates->list);
    candidates->best = NULL;
    candidates->list = NULL;
}

/* Put value in the place of the least of `best`, which has `held` entries. */
static void replace_least(float *best, size_t held, float value)
{
    size_t place = 0, child;
    while ((child = 2 * place + 1) < held) {
        child += child + 1 < held && best[child + 1] < best[child];
        if (best[child] >= value)
            break;
        best[place] = best[child];
        place = child;
    }
    best[place] = value;
}

static void add_to(float *best, size_t held, float value)
{
    size_t place = held;
    while (place > 0 && best[(place - 1) / 2] > value) {
        best[place] = best[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    best[place] = value;
}

static void learn(omendb_candidates *candidates, float lower)
{
    if (candidates->held < candidates->k)
        add_to(candidates->best, candidates->held++, lower);
    else if (lower > candidates->best[0])
        replace_least(candidates->best, candidates->k, lower);
    else
        return;
    if (candidates->held == candidates->k && candidates->best[0] > candidates->threshold)
        candidates->threshold = candidates->best[0];
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

/* Keys that order as answers do: the score above the age, so that all are distinct. */
static uint64_t key_of(float score, uint32_t age)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | age;
}

static float score_in(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

static int descending(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left < right) - (left > right);
}

static void sort_descending(uint64_t *keys, size_t count)
{
    if (count > FEW) {
        qsort(keys, count, sizeof *keys, descending);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        size_t place = i;
        for (; place > 0 && keys[place - 1] < key; place--)
            keys[place] = keys[place - 1];
        keys[place] = key;
    }
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
        size_t age = slot >= rows->oldest ? slot - rows->oldest : slot + rows->slots - rows->oldest;
        if (score >= candidates->min_score)
            keys[found++] = key_of(score, (uint32_t)age);
    }
    return found;
}

int64_t candidates_decide(
    omendb_candidates *candidates, const omendb_rows *rows, const float *query, int64_t *slots,
    float *scores)
{
    drop_hopeless(candidates);
    uint64_t few[FEW], *keys = few;
    if (candidates->count > FEW && (keys = malloc(candidates->count * sizeof *keys)) == NULL)
        return -1;
    size_t found = score_all(candidates, rows, query, keys);
    sort_descending(keys, found);
    if (found > candidates->k)
        found = candidates->k;
    for (size_t i = 0; i < found; i++) {
        size_t slot = (size_t)(keys[i] & 0xffffffffu) + rows->oldest;
        slots[i] = (int64_t)(slot >= rows->slots ? slot - rows->slots : slot);
        scores[i] = score_in(keys[i]);
    }
    if (keys != few)
        free(keys);
    return (int64_t)found;
}
