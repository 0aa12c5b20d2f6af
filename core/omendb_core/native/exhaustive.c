/* Every row scored, a few queries and rows at a time; see exhaustive.h.
 *
 * This is for ties by the thousand, for magnitudes that the shadow does not take, for coordinates
 * that drown all others. At 100,000 x 128 it takes 0.3 ms a query in batches, which is as fast as the
 * products of the numpy reference, and no data makes it slower: it has no second step.
 */
#include "exhaustive.h"

#include <math.h>

#define WORD_ROWS 64
#define CACHE_LINE 64

/* Whom some rows are scored for: LANES_TILE queries, the last repeated. */
typedef struct {
    omendb_thorough *queries[LANES_TILE];
    const float *values[LANES_TILE];
    size_t count;
} Few;

/* To what can be among the best, now that there are as many as wanted. */
static void raise_floor(omendb_thorough *query)
{
    double least = query->best.keys[0].value;
    float reach = is_by_score(&query->order) ? (float)least
                                             : decayed_reach(&query->order, least, query->bias);
    query->floor = fmaxf(query->min_score, reach);
}

/* Under decay, whose times are the same for all: the floors for the rows of a word. */
static void begin_word(
    const omendb_rows *rows, omendb_thorough *queries, size_t count, size_t word)
{
    size_t first = word * WORD_ROWS;
    if (count == 0 || is_by_score(&queries->order))
        return;
    size_t there = rows->used - first < WORD_ROWS ? rows->used - first : WORD_ROWS;
    double time = latest_time(queries->order.times, first, there);
    for (size_t i = 0; i < count; i++) {
        omendb_thorough *query = &queries[i];
        query->bias = time / query->order.half_life;
        query->floor = query->min_score;
        if (query->best.held == query->best.most)
            raise_floor(query);
    }
}

static inline void offer(const omendb_rows *rows, omendb_thorough *query, size_t slot, float score)
{
    if (!(score >= query->floor))
        return;
    double value = order_value(&query->order, slot, score);
    if (!isnan(value) && best_offer(&query->best, (row_key){value, age_of(rows, slot), score}))
        raise_floor(query);
}

/* Rows from first on that `bits` say. */
static void score_alone(
    const omendb_rows *rows, omendb_thorough *query, size_t first, unsigned bits)
{
    for (size_t row = 0; row < LANES_TILE; row++) {
        if (!(bits >> row & 1))
            continue; /* the last rows of a tile may lie beyond the ring */
        const float *vector = rows->vectors + (first + row) * rows->dim;
        offer(
            rows, query, first + row,
            rows->lanes->score(rows->is_l2, vector, query->query, rows->dim));
    }
}

/* Rows first ... first + LANES_TILE - 1, of which `bits` [LANES_TILE] say who wants which. */
static void score_rows(const omendb_rows *rows, const Few *few, size_t first, const unsigned *bits)
{
    const float *vectors[LANES_TILE];
    float scores[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < LANES_TILE; i++) {
        size_t slot = first + i < rows->used ? first + i : rows->used - 1;
        vectors[i] = rows->vectors + slot * rows->dim;
    }
    rows->lanes->score_tile(rows->is_l2, vectors, few->values, rows->dim, scores);
    for (size_t i = 0; i < few->count; i++)
        for (size_t row = 0; row < LANES_TILE; row++)
            if (bits[i] >> row & 1)
                offer(rows, few->queries[i], first + row, scores[i][row]);
}

static void score_word(const omendb_rows *rows, const Few *few, size_t word)
{
    for (size_t part = 0; part < WORD_ROWS / LANES_TILE; part++) {
        unsigned bits[LANES_TILE], any = 0;
        for (size_t i = 0; i < few->count; i++) {
            bits[i] = few->queries[i]->mask[word] >> (part * LANES_TILE) & ((1 << LANES_TILE) - 1);
            any |= bits[i];
        }
        if (any != 0 && few->count == 1)
            score_alone(rows, few->queries[0], word * WORD_ROWS + part * LANES_TILE, any);
        else if (any != 0)
            score_rows(rows, few, word * WORD_ROWS + part * LANES_TILE, bits);
    }
}

/* Rows of a word on their way into the cache: processors fetch ahead upwards only, and words go down. */
static void fetch_word(const omendb_rows *rows, size_t word)
{
    size_t first = word * WORD_ROWS, stop = first + WORD_ROWS;
    const char *from = (const char *)(rows->vectors + first * rows->dim);
    const char *to = (const char *)(rows->vectors + (stop < rows->used ? stop : rows->used) * rows->dim);
    for (; from < to; from += CACHE_LINE)
        __builtin_prefetch(from, 0, 2);
}

/* The newest words first, so that rows which only tie with the best are passed over. */
void score_every_row(const omendb_rows *rows, omendb_thorough *queries, size_t count)
{
    size_t words = (rows->used + WORD_ROWS - 1) / WORD_ROWS;
    size_t word = (rows->oldest + rows->slots - 1) % rows->slots / WORD_ROWS;
    for (size_t left = words; left > 0; left--) {
        size_t next = word == 0 ? words - 1 : word - 1;
        fetch_word(rows, next);
        begin_word(rows, queries, count, word);
        for (size_t first = 0; first < count; first += LANES_TILE) {
            Few few = {.count = count - first < LANES_TILE ? count - first : LANES_TILE};
            for (size_t i = 0; i < LANES_TILE; i++) {
                few.queries[i] = &queries[first + (i < few.count ? i : few.count - 1)];
                few.values[i] = few.queries[i]->query;
            }
            score_word(rows, &few, word);
        }
        word = next;
    }
}
