/* What the files of a scan share (scan.c, scan_setup.c, scan_tiles.c): its queries, in the order of
 * their passes. */
#ifndef OMENDB_SCAN_WORK_H
#define OMENDB_SCAN_WORK_H

#include "scan.h"

#include <float.h>

/* Rows that passed a tile and are not looked at yet: as a group of the shadow, so that their bounds
 * come by one call. */
typedef struct {
    float factors[FACTORS * GROUP_ROWS];
    int32_t dots[GROUP_ROWS];
    uint32_t slots[GROUP_ROWS];
    size_t count;
    size_t most; /* at the end of a tile no more than this may wait: thresholds rise with what is seen */
} scan_waiting;

typedef struct {
    size_t asked; /* which of the call's queries */
    size_t mask;
    omendb_query query;
    omendb_candidates candidates;
    scan_waiting waiting;
    /* Under decay: the latest time that the tiles are aimed for, its bias, the time before which it
     * pays to aim anew, in half-lives that are so far apart, and the least score that the tiles let
     * through. */
    double latest, bias, earliest, apart;
    float reach;
    bool given_up;
    bool is_scored; /* its rows are: `best` is made, and nothing is left to decide */
} scan_seeker;

typedef struct {
    const omendb_scan *scan;
    omendb_queries queries; /* in the order of seekers */
    scan_seeker *seekers;   /* [count], those of a pass one after the other */
    scan_seeker **chosen;   /* [count] room for some of them */
    size_t *order;          /* [count] by asked: the place among seekers */
    uint64_t *rows_of;      /* [mask_count] how many rows each mask holds */
    size_t *groups_of;      /* [mask_count] and how many groups, */
    size_t *words_of;       /* [mask_count] of how many words */
    bool *is_alone;         /* [mask_count] whether it makes a pass of its own, */
    bool *is_scored;        /* [mask_count] in which its rows are scored one by one */
    bool gave_up;           /* since the last tile */
    /* Under decay, of all seekers of the pass: none is to be aimed anew for tiles whose latest time is
     * not above latest, but above earliest; whether any may find a row there; and of how many words that
     * come next the times are not asked. */
    double latest, earliest;
    bool may_find;
    size_t unasked;
} scan_work;

/* What is larger than this is not in a cache from one scan to the next. */
#define NEAR_BYTES ((size_t)16 << 20)

static inline const uint64_t *scan_mask_at(const omendb_scan *scan, size_t mask)
{
    return scan->masks + mask * scan->words;
}

/* No score is above this. */
static inline float scan_most_score(const omendb_scan *scan)
{
    switch (scan->shadow.metric) {
    case COSINE: return 1 + 0x1p-20f; /* both are normalised, but for rounding (bounds.c) */
    case L2: return 0;
    default: return FLT_MAX;
    }
}

/* Have the next tiles let the rows through that may be better than what `place` has now. */
static inline void scan_aim(const scan_work *work, size_t place)
{
    scan_seeker *seeker = &work->seekers[place];
    const omendb_queries *queries = &work->queries;
    seeker->reach = candidates_reach(&seeker->candidates, seeker->bias);
    query_aim(
        &seeker->query, seeker->reach, queries->alpha + place, queries->beta + place,
        queries->theta + place);
}

/* Plan the passes of `work->scan` and prepare its queries. False if there is no memory; scan_free
 * in any case. */
bool scan_set_out(scan_work *work);
void scan_free(scan_work *work);

#endif
