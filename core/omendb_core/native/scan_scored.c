/* Rows scored one by one: where a mask holds few of them, and where the shadow tells too little.
 *
 * Few rows of a mask are in groups of their own, so the shadow would have 16 rows read for each. The others
 * are ties by the thousand, magnitudes that the shadow does not take, coordinates that drown all others: no
 * data makes this slower, as it has no second step (0.3 ms a query in batches over 100,000 x 128).
 *
 * Some rows at a time for all queries, which finds them in the first cache, while those after them are on
 * their way there. The newest come first, so that rows which only tie with the best are passed over.
 */
#include "scan_scored.h"

#include <math.h>

#define CACHE_LINE 64
/* Rows at a time: so many bytes of them, but whole tiles. */
#define SOME_BYTES ((size_t)16 << 10)
#define MOST_ROWS 32

typedef struct {
    uint32_t slots[MOST_ROWS];
    size_t count;
} Some;

/* Goes through the rows of a mask, downwards from the newest. */
typedef struct {
    const omendb_rows *rows;
    const uint64_t *mask;
    size_t at_once;
    size_t words, left, word;
    uint64_t bits; /* of the word, not seen yet */
} Cursor;

static Cursor begin(const omendb_scan *scan, const uint64_t *mask)
{
    const omendb_rows *rows = &scan->rows;
    const size_t words = (rows->used + TILE_ROWS - 1) / TILE_ROWS;
    const size_t newest = (rows->oldest + rows->slots - 1) % rows->slots / TILE_ROWS;
    const size_t fit = SOME_BYTES / (rows->dim * sizeof(float)) / LANES_TILE * LANES_TILE;
    const size_t at_once = fit < LANES_TILE ? LANES_TILE : fit < MOST_ROWS ? fit : MOST_ROWS;
    return (Cursor){
        .rows = rows, .mask = mask, .at_once = at_once, .words = words, .left = words, .word = newest + 1};
}

/* Always inline: see candidates.c. */
static inline __attribute__((always_inline)) void fetch(const omendb_rows *rows, size_t slot)
{
    const char *row = (const char *)(rows->vectors + slot * rows->dim);
    for (size_t at = 0; at < rows->dim * sizeof(float); at += CACHE_LINE)
        __builtin_prefetch(row + at);
}

/* The next rows, on their way into the cache; none at the end. */
static void next_rows(Cursor *cursor, Some *some)
{
    some->count = 0;
    while (some->count < cursor->at_once) {
        while (cursor->bits == 0) {
            if (cursor->left-- == 0) {
                cursor->left = 0;
                return;
            }
            cursor->word = (cursor->word == 0 ? cursor->words : cursor->word) - 1;
            cursor->bits = cursor->mask[cursor->word];
        }
        const size_t bit = TILE_ROWS - 1 - (size_t)__builtin_clzll(cursor->bits);
        cursor->bits ^= (uint64_t)1 << bit;
        const size_t slot = cursor->word * TILE_ROWS + bit;
        some->slots[some->count++] = (uint32_t)slot;
        fetch(cursor->rows, slot);
    }
}

/* Under decay, whose times are the same for all: what the seekers ask of these rows. */
static void aim(const omendb_times *times, scan_seeker *const *seekers, size_t count, const Some *some)
{
    double latest = -INFINITY;
    for (size_t i = 0; i < some->count; i++) {
        const double time = time_of(times, some->slots[i]);
        latest = time > latest ? time : latest;
    }
    for (size_t i = 0; i < count; i++) {
        seekers[i]->bias = latest / seekers[i]->candidates.order.half_life;
        seekers[i]->reach = candidates_reach(&seekers[i]->candidates, seekers[i]->bias);
    }
}

static void offer(scan_seeker *seeker, size_t slot, float score)
{
    if (candidates_take(&seeker->candidates, slot, score))
        seeker->reach = candidates_reach(&seeker->candidates, seeker->bias);
}

static void score_for_one(
    const omendb_rows *rows, scan_seeker *seeker, const float *const *vectors, const Some *some)
{
    const float *query = seeker->candidates.query;
    float scores[LANES_TILE];
    for (size_t at = 0; at < some->count; at += LANES_TILE) {
        rows->lanes->score_rows(rows->is_l2, vectors + at, query, rows->dim, scores);
        for (size_t row = 0; row < LANES_TILE && at + row < some->count; row++)
            if (scores[row] >= seeker->reach)
                offer(seeker, some->slots[at + row], scores[row]);
    }
}

/* For LANES_TILE seekers at most. */
static void score_for_few(
    const omendb_rows *rows, scan_seeker *const *seekers, size_t count, const float *const *vectors,
    const Some *some)
{
    const float *queries[LANES_TILE];
    float scores[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < LANES_TILE; i++)
        queries[i] = seekers[i < count ? i : 0]->candidates.query;
    for (size_t at = 0; at < some->count; at += LANES_TILE) {
        const size_t there = some->count - at < LANES_TILE ? some->count - at : LANES_TILE;
        rows->lanes->score_tile(rows->is_l2, vectors + at, queries, rows->dim, scores);
        for (size_t i = 0; i < count; i++) {
            scan_seeker *seeker = seekers[i];
            for (size_t row = 0; row < there; row++)
                if (scores[i][row] >= seeker->reach)
                    offer(seeker, some->slots[at + row], scores[i][row]);
        }
    }
}

static void score_some(
    const scan_work *work, scan_seeker *const *seekers, size_t count, const Some *some)
{
    const omendb_rows *rows = &work->scan->rows;
    const float *vectors[MOST_ROWS];
    /* Places up to a whole tile repeat the first row. */
    for (size_t i = 0; i < MOST_ROWS; i++)
        vectors[i] = rows->vectors + some->slots[i < some->count ? i : 0] * rows->dim;
    if (work->scan->times != NULL)
        aim(work->scan->times, seekers, count, some);
    if (count == 1) {
        score_for_one(rows, seekers[0], vectors, some);
        return;
    }
    for (size_t first = 0; first < count; first += LANES_TILE) {
        const size_t few = count - first < LANES_TILE ? count - first : LANES_TILE;
        score_for_few(rows, seekers + first, few, vectors, some);
    }
}

void scan_score(const scan_work *work, scan_seeker *const *seekers, size_t count)
{
    Cursor cursor = begin(work->scan, scan_mask_at(work->scan, seekers[0]->mask));
    Some some[2];
    for (size_t i = 0; i < count; i++) {
        omendb_candidates *candidates = &seekers[i]->candidates;
        candidates->best.held = 0;
        seekers[i]->bias = INFINITY;
        seekers[i]->reach = candidates_reach(candidates, INFINITY);
    }
    next_rows(&cursor, &some[0]);
    for (size_t at = 0; some[at].count > 0; at ^= 1) {
        next_rows(&cursor, &some[at ^ 1]);
        score_some(work, seekers, count, &some[at]);
    }
}
