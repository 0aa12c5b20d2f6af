/* Rows scored one by one: where a mask holds few of them, and where the shadow tells too little.
 *
 * Few rows of a mask are in groups of their own, so the shadow would have 16 rows read for each. The others
 * are ties by the thousand, magnitudes that the shadow does not take, coordinates that drown all others: no
 * data makes this slower, as it has no second step (0.3 ms a query in batches over 100,000 x 128).
 *
 * Some rows at a time for all queries, which finds them in the first cache, while those after them are on
 * their way there; their queries are float64 already (0.93 of the time). The newest come first, so that rows
 * which only tie with the best are passed over.
 */
#include "scan_scored.h"

#include "cpu.h"

#include <math.h>
#include <stdlib.h>

#define CACHE_LINE 64
/* Rows at a time: 1% of 100,000 x 128 for one query in 20 us, of 16 and 32 rows in 21 and 22; in batches, and
 * where they are in no cache, there is no difference. */
#define SOME_ROWS 8

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Slots of some rows. */
typedef struct {
    const uint32_t *slots;
    size_t count;
} Some;

/* Bits of a word that are taken without a look at how many there are: so many slots are written beyond the
 * last. No processor foresees how many bits a word has, and which of few words have any. */
#define TAKEN_AT_ONCE 4
#define HIGHEST ((uint64_t)1 << (TILE_ROWS - 1))

/* Words that hold nothing are passed over so many at once. */
#define PASSED_WORDS 4

ALWAYS_INLINE bool holds_none(const uint64_t *words)
{
    return (words[0] | words[1] | words[2] | words[3]) == 0;
}

/* The slots that a word holds, downwards, to `slots`; how many. */
ALWAYS_INLINE size_t list_word(uint64_t bits, size_t word, uint32_t *slots)
{
    const size_t count = (size_t)__builtin_popcountll(bits);
    const uint32_t last = (uint32_t)(word * TILE_ROWS + TILE_ROWS - 1);
    for (size_t at = 0; at < count || at == 0; at += TAKEN_AT_ONCE)
        for (size_t i = 0; i < TAKEN_AT_ONCE; i++) {
            const int before = __builtin_clzll(bits | 1);
            slots[at + i] = last - (uint32_t)before;
            bits &= ~(HIGHEST >> before);
        }
    return count;
}

/* The same of the words first ... stop - 1 of a mask. */
#define LIST_SLOTS(name, attributes)                                                               \
    attributes static size_t name(                                                                 \
        const uint64_t *mask, size_t first, size_t stop, uint32_t *slots)                          \
    {                                                                                              \
        size_t found = 0;                                                                          \
        while (stop > first) {                                                                     \
            if (stop - first >= PASSED_WORDS && holds_none(mask + stop - PASSED_WORDS)) {          \
                stop -= PASSED_WORDS;                                                              \
                continue;                                                                          \
            }                                                                                      \
            stop--;                                                                                \
            found += list_word(mask[stop], stop, slots + found);                                   \
        }                                                                                          \
        return found;                                                                              \
    }

LIST_SLOTS(list_slots_portable, )
#if defined(__x86_64__)
LIST_SLOTS(list_slots_avx2, __attribute__((target("avx2,popcnt,lzcnt,bmi"))))
#endif

static size_t list_slots(const uint64_t *mask, size_t first, size_t stop, uint32_t *slots)
{
#if defined(__x86_64__)
    if (cpu_has_avx2())
        return list_slots_avx2(mask, first, stop, slots);
#endif
    return list_slots_portable(mask, first, stop, slots);
}

/* Have rows on their way into the cache. Always inline: see candidates.c. */
ALWAYS_INLINE void fetch(const omendb_rows *rows, const Some *some)
{
    for (size_t i = 0; i < some->count; i++) {
        const char *row = (const char *)(rows->vectors + some->slots[i] * rows->dim);
        for (size_t at = 0; at < rows->dim * sizeof(float); at += CACHE_LINE)
            __builtin_prefetch(row + at);
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

/* Whom rows are scored for, and their queries as float64. */
typedef struct {
    scan_seeker *const *seekers;
    size_t count;
    double *wide; /* [count][stride] */
    size_t stride;
} Asking;

static void score_for_one(
    const omendb_rows *rows, const Asking *asking, const float *const *vectors, const Some *some)
{
    scan_seeker *seeker = asking->seekers[0];
    float scores[LANES_TILE];
    for (size_t at = 0; at < some->count; at += LANES_TILE) {
        rows->lanes->score_rows(rows->is_l2, vectors + at, asking->wide, rows->dim, scores);
        for (size_t row = 0; row < LANES_TILE && at + row < some->count; row++)
            if (scores[row] >= seeker->reach)
                offer(seeker, some->slots[at + row], scores[row]);
    }
}

/* For LANES_TILE of them at most, from first on. */
static void score_for_few(
    const omendb_rows *rows, const Asking *asking, size_t first, const float *const *vectors,
    const Some *some)
{
    const size_t left = asking->count - first, count = left < LANES_TILE ? left : LANES_TILE;
    const double *queries[LANES_TILE];
    float scores[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < LANES_TILE; i++)
        queries[i] = asking->wide + (first + (i < count ? i : 0)) * asking->stride;
    for (size_t at = 0; at < some->count; at += LANES_TILE) {
        const size_t there = some->count - at < LANES_TILE ? some->count - at : LANES_TILE;
        rows->lanes->score_wide(rows->is_l2, vectors + at, queries, rows->dim, scores);
        for (size_t i = 0; i < count; i++) {
            scan_seeker *seeker = asking->seekers[first + i];
            for (size_t row = 0; row < there; row++)
                if (scores[i][row] >= seeker->reach)
                    offer(seeker, some->slots[at + row], scores[i][row]);
        }
    }
}

static void score_some(const omendb_scan *scan, const Asking *asking, const Some *some)
{
    const omendb_rows *rows = &scan->rows;
    const float *vectors[SOME_ROWS];
    /* Places up to a whole tile repeat the first row. */
    for (size_t i = 0; i < SOME_ROWS; i++)
        vectors[i] = rows->vectors + some->slots[i < some->count ? i : 0] * rows->dim;
    if (scan->times != NULL)
        aim(scan->times, asking->seekers, asking->count, some);
    if (asking->count == 1) {
        score_for_one(rows, asking, vectors, some);
        return;
    }
    for (size_t first = 0; first < asking->count; first += LANES_TILE)
        score_for_few(rows, asking, first, vectors, some);
}

/* Slots of a mask, the newest first; how many. */
static size_t list_mask(const omendb_rows *rows, const uint64_t *mask, uint32_t *slots)
{
    const size_t words = (rows->used + TILE_ROWS - 1) / TILE_ROWS;
    const size_t newest = (rows->oldest + rows->slots - 1) % rows->slots / TILE_ROWS;
    const size_t found = list_slots(mask, 0, newest + 1, slots);
    return found + list_slots(mask, newest + 1, words, slots + found);
}

/* The best of these rows. */
static void score_slots(
    const omendb_scan *scan, const Asking *asking, const uint32_t *slots, size_t wanted)
{
    Some some = {slots, wanted < SOME_ROWS ? wanted : SOME_ROWS};
    for (fetch(&scan->rows, &some); some.count > 0;) {
        const size_t left = (size_t)(slots + wanted - some.slots) - some.count;
        const Some next = {some.slots + some.count, left < SOME_ROWS ? left : SOME_ROWS};
        fetch(&scan->rows, &next);
        score_some(scan, asking, &some);
        some = next;
    }
}

static void begin(const Asking *asking, size_t dim)
{
    for (size_t i = 0; i < asking->count; i++) {
        omendb_candidates *candidates = &asking->seekers[i]->candidates;
        candidates->best.held = 0;
        asking->seekers[i]->bias = INFINITY;
        asking->seekers[i]->reach = candidates_reach(candidates, INFINITY);
        lanes_widen(candidates->query, dim, asking->wide + i * asking->stride);
    }
}

bool scan_score(const scan_work *work, scan_seeker *const *seekers, size_t count)
{
    const omendb_rows *rows = &work->scan->rows;
    const size_t mask = seekers[0]->mask;
    Asking asking = {.seekers = seekers, .count = count, .stride = lanes_wide(rows->dim)};
    uint32_t *slots = malloc((work->rows_of[mask] + TAKEN_AT_ONCE) * sizeof *slots);
    asking.wide = malloc(count * asking.stride * sizeof *asking.wide);
    const bool is_done = slots != NULL && asking.wide != NULL;
    if (is_done) {
        begin(&asking, rows->dim);
        const size_t wanted = list_mask(rows, scan_mask_at(work->scan, mask), slots);
        score_slots(work->scan, &asking, slots, wanted);
    }
    free(slots);
    free(asking.wide);
    return is_done;
}
