/* A word of the masks is a tile where all of its four groups are wanted; groups of other words are
 * put together, four by four.
 */
#include "scan_tiles.h"

#include <math.h>

#define CACHE_LINE 64

/* Beside a tile of so many steps the next one fits into the first cache (of 768 dimensions two do not: 8%
 * slower in batches of 8). */
#define FETCHED_STEPS 64

static inline unsigned group_bits(const uint64_t *mask, size_t group)
{
    return (unsigned)(mask[group / TILE_GROUPS] >> (group % TILE_GROUPS * GROUP_ROWS)) & 0xffff;
}

scan_cursor scan_start(const scan_work *work, size_t first, size_t stop)
{
    const omendb_scan *scan = work->scan;
    scan_cursor cursor = {.work = work, .first = first, .stop = stop};
    cursor.words = cursor.left = (scan->rows.used + TILE_ROWS - 1) / TILE_ROWS;
    cursor.newest = (scan->rows.oldest + scan->rows.slots - 1) % scan->rows.slots / TILE_ROWS;
    /* Under decay the newest come first: aim_at_tile. */
    cursor.run_words = scan->times == NULL ? RUN_WORDS : 1;
    return cursor;
}

void scan_set_tile(const scan_work *work, const uint32_t *groups, size_t count, scan_tile *tile)
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

static void set_word(const scan_work *work, size_t word, uint64_t wanted, scan_tile *tile)
{
    uint32_t groups[TILE_GROUPS];
    for (size_t g = 0; g < TILE_GROUPS; g++)
        groups[g] = (uint32_t)(word * TILE_GROUPS + g);
    scan_set_tile(work, groups, TILE_GROUPS, tile);
    tile->is_word = true;
    tile->wanted = wanted;
}

static size_t next_word(scan_cursor *cursor)
{
    if (cursor->in_run == 0) {
        const size_t most = cursor->run_words;
        cursor->in_run = cursor->left < most ? cursor->left : most;
        cursor->word = (cursor->newest + cursor->words - (cursor->in_run - 1)) % cursor->words;
        cursor->newest = (cursor->word + cursor->words - 1) % cursor->words;
    }
    const size_t word = cursor->word;
    cursor->word = word + 1 == cursor->words ? 0 : word + 1;
    cursor->in_run--;
    cursor->left--;
    return word;
}

static uint64_t wanted_of(const scan_cursor *cursor, size_t word)
{
    const scan_work *work = cursor->work;
    uint64_t bits = 0;
    for (size_t place = cursor->first; place < cursor->stop && bits != UINT64_MAX; place++)
        if (place == cursor->first || work->seekers[place].mask != work->seekers[place - 1].mask)
            bits |= scan_mask_at(work->scan, work->seekers[place].mask)[word];
    return bits;
}

bool scan_next_tile(scan_cursor *cursor, scan_tile *tile)
{
    while (cursor->left > 0) {
        size_t word = next_word(cursor);
        uint64_t bits = wanted_of(cursor, word);
        unsigned there = 0;
        for (size_t g = 0; g < TILE_GROUPS; g++)
            there |= ((bits >> (g * GROUP_ROWS) & 0xffff) != 0) << g;
        if (there == (1 << TILE_GROUPS) - 1) {
            set_word(cursor->work, word, bits, tile);
            return true;
        }
        for (size_t g = 0; g < TILE_GROUPS; g++)
            if (there >> g & 1) {
                cursor->wanted[cursor->waiting] = (uint16_t)(bits >> (g * GROUP_ROWS));
                cursor->groups[cursor->waiting++] = (uint32_t)(word * TILE_GROUPS + g);
            }
        if (cursor->waiting >= TILE_GROUPS)
            break;
    }
    if (cursor->waiting == 0)
        return false;
    size_t count = cursor->waiting < TILE_GROUPS ? cursor->waiting : TILE_GROUPS;
    scan_set_tile(cursor->work, cursor->groups, count, tile);
    tile->wanted = 0;
    for (size_t g = 0; g < count; g++)
        tile->wanted |= (uint64_t)cursor->wanted[g] << (g * GROUP_ROWS);
    cursor->waiting -= count;
    for (size_t i = 0; i < cursor->waiting; i++) {
        cursor->groups[i] = cursor->groups[count + i];
        cursor->wanted[i] = cursor->wanted[count + i];
    }
    return true;
}

uint64_t scan_tile_mask(const scan_tile *tile, const uint64_t *mask)
{
    uint64_t bits = 0;
    if (tile->is_word)
        return mask[tile->groups[0] / TILE_GROUPS];
    for (size_t g = 0; g < tile->count; g++)
        bits |= (uint64_t)group_bits(mask, tile->groups[g]) << (g * GROUP_ROWS);
    return bits;
}

/* The time of the newest row among `wanted`, bits of the slots from first on. */
static double newest_time(const omendb_scan *scan, size_t first, uint64_t wanted)
{
    size_t oldest = scan->rows.oldest;
    if (first < oldest && oldest < first + TILE_ROWS) {
        /* The slots below the oldest row's are of the last lap. */
        uint64_t newer = wanted & (((uint64_t)1 << (oldest - first)) - 1);
        wanted = newer != 0 ? newer : wanted;
    }
    return time_of(scan->times, first + 63 - (size_t)__builtin_clzll(wanted));
}

double scan_tile_time(const scan_work *work, const scan_tile *tile)
{
    const omendb_scan *scan = work->scan;
    const size_t step = tile->is_word ? TILE_ROWS : GROUP_ROWS;
    double latest = -INFINITY;
    if (tile->is_word && scan->times->latest != NULL)
        return scan->times->latest[tile->groups[0] / TILE_GROUPS] / scan->times->per_second;
    for (size_t g = 0; g < (tile->is_word ? 1 : tile->count); g++) {
        size_t first = tile->groups[g] * (size_t)GROUP_ROWS, left = scan->rows.used - first;
        uint64_t wanted = tile->wanted >> (g * GROUP_ROWS);
        double time = scan->times->never_fall
                          ? newest_time(scan, first, tile->is_word ? wanted : wanted & 0xffff)
                          : latest_time(scan->times, first, left < step ? left : step);
        latest = time > latest ? time : latest;
    }
    return latest;
}

double scan_words_time(const scan_work *work, const uint64_t *mask, size_t first, size_t count)
{
    const omendb_scan *scan = work->scan;
    const size_t last = first + count - 1, oldest = scan->rows.oldest / TILE_ROWS;
    double latest = -INFINITY;
    if (scan->times->latest == NULL && scan->times->never_fall && (oldest < first || oldest > last))
        return newest_time(scan, last * TILE_ROWS, mask[last]);
    for (size_t word = first; word <= last; word++) {
        const size_t row = word * TILE_ROWS, left = scan->rows.used - row;
        double time;
        if (scan->times->latest != NULL)
            time = scan->times->latest[word] / scan->times->per_second;
        else if (scan->times->never_fall)
            time = newest_time(scan, row, mask[word]);
        else
            time = latest_time(scan->times, row, left < TILE_ROWS ? left : TILE_ROWS);
        latest = time > latest ? time : latest;
    }
    return latest;
}

bool scan_times_fall_from(const scan_work *work, const scan_tile *tile)
{
    size_t first = tile->groups[0] * (size_t)GROUP_ROWS, oldest = work->scan->rows.oldest;
    bool has_both_ends = first < oldest && oldest < first + TILE_ROWS;
    return work->scan->times->never_fall && tile->is_word && !has_both_ends;
}

void scan_fetch_times(const omendb_scan *scan, const scan_tile *tile)
{
    const omendb_times *times = scan->times;
    const char *first = times->integers != NULL ? (const char *)times->integers : (const char *)times->numbers;
    for (size_t g = 0; g < tile->count; g++)
        for (size_t row = 0; row < GROUP_ROWS; row += CACHE_LINE / sizeof(double))
            __builtin_prefetch(first + (tile->groups[g] * GROUP_ROWS + row) * sizeof(double));
}

void scan_fetch_tile(const scan_work *work, const scan_tile *tile, size_t part, size_t parts)
{
    const size_t lines = work->queries.steps, from = part * lines / parts;
    const size_t to = (part + 1) * lines / parts;
    const size_t bytes = work->scan->rows.used / GROUP_ROWS * lines * STEP_BYTES;
    if (lines > FETCHED_STEPS || (parts == 1 && bytes <= NEAR_BYTES))
        return;
    for (size_t g = 0; g < tile->count; g++) {
        for (size_t line = from; line < to; line++)
            __builtin_prefetch(tile->rows.codes[g] + line * STEP_BYTES);
        for (size_t line = 0; part == 0 && line < FACTORS; line++)
            __builtin_prefetch(tile->rows.factors[g] + line * GROUP_ROWS);
    }
}
