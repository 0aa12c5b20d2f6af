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

/* Goes through the groups that any mask of a pass holds, word by word, the newest first. */
typedef struct {
    const scan_work *work;
    size_t first, stop; /* whose masks: seekers */
    size_t words, word, left;
    uint32_t groups[2 * TILE_GROUPS]; /* of words that hold some of their groups only, */
    uint16_t wanted[2 * TILE_GROUPS]; /* and what is wanted of them */
    size_t waiting;
} scan_cursor;

/* At the newest word, for the masks of the seekers first ... stop - 1. */
scan_cursor scan_start(const scan_work *work, size_t first, size_t stop);

/* The next tile; false if there is none. */
bool scan_next_tile(scan_cursor *cursor, scan_tile *tile);

/* The bits of `mask` for the rows of the tile. */
uint64_t scan_tile_mask(const scan_tile *tile, const uint64_t *mask);

/* The latest time of its rows, in seconds; -inf if none has one. */
double scan_tile_time(const scan_work *work, const scan_tile *tile);

/* Whether no word that comes next has rows of a later time. */
bool scan_times_fall_from(const scan_work *work, const scan_tile *tile);

/* Have the times of its rows on their way into the cache. */
void scan_fetch_times(const omendb_scan *scan, const scan_tile *tile);

#endif
