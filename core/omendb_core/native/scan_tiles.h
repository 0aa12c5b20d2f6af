/* Which tiles of a ring a pass goes through: the groups that any of its masks holds, in order. */
#ifndef OMENDB_SCAN_TILES_H
#define OMENDB_SCAN_TILES_H

#include "scan_work.h"

/* Rows of a tile; places beyond `count` repeat the first, and have no bits in any mask. */
typedef struct {
    omendb_tile_rows rows;
    uint32_t groups[TILE_GROUPS];
    size_t count;
    bool is_word; /* the four groups of one word of the masks */
    uint64_t wanted; /* bits of the rows, as of the tile's hits, that any mask of the pass holds */
} scan_tile;

/* Processors fetch ahead upwards. So the newest run of words comes first, but its words in order
 * (1,000,000 x 128 in batches of 32: 0.89 of the time of words that go down). */
#define RUN_WORDS 64

/* Goes through the groups that any mask of a pass holds, word by word, run by run. */
typedef struct {
    const scan_work *work;
    size_t first, stop; /* whose masks: seekers */
    size_t words, left;
    size_t newest; /* of the runs to come */
    size_t word, in_run, run_words;
    uint32_t groups[2 * TILE_GROUPS]; /* of words that hold some of their groups only, */
    uint16_t wanted[2 * TILE_GROUPS]; /* and what is wanted of them */
    size_t waiting;
} scan_cursor;

/* At the newest word, for the masks of the seekers first ... stop - 1. */
scan_cursor scan_start(const scan_work *work, size_t first, size_t stop);

/* The next tile; false if there is none. */
bool scan_next_tile(scan_cursor *cursor, scan_tile *tile);

/* A tile of these groups, TILE_GROUPS at most. */
void scan_set_tile(const scan_work *work, const uint32_t *groups, size_t count, scan_tile *tile);

/* Offer the rows of `hits` in a tile, now or soon. False if there is no memory. */
bool scan_take(
    scan_work *work, size_t place, const scan_tile *tile, uint64_t hits, const int32_t *dots);

/* Offer what still waits. False if there is no memory. */
bool scan_offer_rest(scan_work *work, size_t first, size_t stop);

/* The bits of `mask` for the rows of the tile. */
uint64_t scan_tile_mask(const scan_tile *tile, const uint64_t *mask);

/* The latest time of its rows, in seconds; -inf if none has one. */
double scan_tile_time(const scan_work *work, const scan_tile *tile);

/* The same of words first ... first + count - 1, which all hold rows of a mask. */
double scan_words_time(const scan_work *work, const uint64_t *mask, size_t first, size_t count);

/* Whether no word that comes next has rows of a later time. */
bool scan_times_fall_from(const scan_work *work, const scan_tile *tile);

/* Have part `part` of so many of the rows of a tile on their way into the cache, if that pays: the first
 * of many queries waits for them, the others do not, and so it need not either (1,000,000 x 128 in batches
 * of 8 and 32: 0.61 and 0.70 of the time; of 2 and 4, where all is one part, 0.86). */
void scan_fetch_tile(const scan_work *work, const scan_tile *tile, size_t part, size_t parts);

/* Have the times of its rows on their way into the cache. */
void scan_fetch_times(const omendb_scan *scan, const scan_tile *tile);

#endif
