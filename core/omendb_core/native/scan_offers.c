/* Rows that passed a tile are offered to their query's candidates, sixteen at a time at most. */
#include "scan_tiles.h"

/* Offer the rows that wait for it. False if there is no memory. */
static bool offer_waiting(scan_work *work, size_t place)
{
    scan_seeker *seeker = &work->seekers[place];
    scan_waiting *waiting = &seeker->waiting;
    const double before = seeker->candidates.threshold;
    const size_t count = waiting->count;
    float lower[GROUP_ROWS], upper[GROUP_ROWS];
    waiting->count = 0;
    query_intervals(&seeker->query, waiting->factors, waiting->dots, lower, upper);
    for (size_t i = 0; i < count; i++) {
        omendb_interval score = {lower[i], upper[i]};
        omendb_offered offered = candidates_offer(&seeker->candidates, waiting->slots[i], score);
        if (offered == NO_MEMORY)
            return false;
        if (offered == GIVEN_UP) {
            seeker->given_up = work->gave_up = true;
            return true;
        }
    }
    if (seeker->candidates.threshold != before)
        scan_aim(work, place);
    return true;
}

bool scan_take(
    scan_work *work, size_t place, const scan_tile *tile, uint64_t hits, const int32_t *dots)
{
    scan_seeker *seeker = &work->seekers[place];
    scan_waiting *waiting = &seeker->waiting;
    for (; hits != 0 && !seeker->given_up; hits &= hits - 1) {
        size_t bit = (size_t)__builtin_ctzll(hits), group = bit / GROUP_ROWS, row = bit % GROUP_ROWS;
        for (size_t factor = 0; factor < FACTORS; factor++)
            waiting->factors[factor * GROUP_ROWS + waiting->count] =
                tile->rows.factors[group][factor * GROUP_ROWS + row];
        waiting->dots[waiting->count] = dots[bit];
        waiting->slots[waiting->count] = tile->groups[group] * GROUP_ROWS + (uint32_t)row;
        if (work->scan->times != NULL)
            fetch_time(work->scan->times, waiting->slots[waiting->count]);
        if (++waiting->count == GROUP_ROWS && !offer_waiting(work, place))
            return false;
    }
    return waiting->count <= waiting->most || offer_waiting(work, place);
}

bool scan_offer_rest(scan_work *work, size_t first, size_t stop)
{
    for (size_t place = first; place < stop; place++)
        if (work->seekers[place].waiting.count > 0 && !offer_waiting(work, place))
            return false;
    return true;
}
