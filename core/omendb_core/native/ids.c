/* Which live row has a u64 id: one open-addressing table that holds exactly the live rows.
 *
 * An entry is slot + 1; the id is read from the keys of that slot. Linear probing, and removal by
 * shifting back (Knuth, The Art of Computer Programming 6.4, algorithm R), so there are no
 * tombstones, nothing is ever cleared whole, and how full a table is depends on the live rows
 * alone. A row is removed when it dies, before its slot's key is overwritten: that is what makes
 * the keys behind all entries intact.
 *
 * The salts are random for each table, so no choice of ids collides on purpose; answers do not
 * depend on them. Places are computed for a few dozen ids ahead and fetched meanwhile: in a window
 * of a million rows every look is a miss of all caches.
 */
#include "ids.h"

#define AHEAD 32

static inline size_t home_of(const omendb_ids *ids, uint64_t key)
{
    /* A multiplication carries low bits up, the shift brings high bits down. */
    uint64_t mixed = (key ^ ids->salts[0]) * (ids->salts[1] | 1);
    mixed ^= mixed >> 32;
    mixed *= ids->salts[2] | 1;
    return (size_t)(((mixed >> 32) * (uint64_t)ids->size) >> 32);
}

static inline size_t next_place(const omendb_ids *ids, size_t place)
{
    return place + 1 == ids->size ? 0 : place + 1;
}

/* Homes of count <= AHEAD keys, and what stands there on its way into the cache. */
static void look_ahead(const omendb_ids *ids, const uint64_t *keys, size_t count, size_t *homes)
{
    for (size_t i = 0; i < count; i++) {
        homes[i] = home_of(ids, keys[i]);
        __builtin_prefetch(&ids->table[homes[i]]);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t entry = ids->table[homes[i]];
        if (entry != 0)
            __builtin_prefetch(&ids->keys[entry - 1]);
    }
}

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void omendb_ids_find(const omendb_ids *ids, const uint64_t *asked, size_t count, int64_t *slots)
{
    size_t homes[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = least(AHEAD, count - start);
        look_ahead(ids, asked + start, some, homes);
        for (size_t i = 0; i < some; i++) {
            size_t place = homes[i];
            uint32_t entry;
            while ((entry = ids->table[place]) != 0 && ids->keys[entry - 1] != asked[start + i])
                place = next_place(ids, place);
            slots[start + i] = (int64_t)entry - 1;
        }
    }
}

size_t omendb_ids_assign(
    omendb_ids *ids, const uint64_t *given, size_t count, size_t first, int64_t *replaced)
{
    size_t homes[AHEAD], found = 0, slot = first;
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = least(AHEAD, count - start);
        look_ahead(ids, given + start, some, homes);
        for (size_t i = 0; i < some; i++) {
            uint64_t key = given[start + i];
            size_t place = homes[i];
            uint32_t entry;
            while ((entry = ids->table[place]) != 0 && ids->keys[entry - 1] != key)
                place = next_place(ids, place);
            if (entry != 0)
                replaced[found++] = (int64_t)entry - 1;
            ids->table[place] = (uint32_t)slot + 1;
            ids->keys[slot] = key;
            slot = slot + 1 == ids->capacity ? 0 : slot + 1;
        }
    }
    return found;
}

/* Take out the entry at place, and move up those that could then not be reached. */
static void take_out(omendb_ids *ids, size_t place)
{
    size_t hole = place;
    uint32_t entry;
    for (size_t at = next_place(ids, place); (entry = ids->table[at]) != 0;
         at = next_place(ids, at)) {
        size_t home = home_of(ids, ids->keys[entry - 1]);
        /* It stays if its home lies behind the hole, going round: in (hole, at]. */
        int stays = hole < at ? hole < home && home <= at : hole < home || home <= at;
        if (!stays) {
            ids->table[hole] = entry;
            hole = at;
        }
    }
    ids->table[hole] = 0;
}

void omendb_ids_release(omendb_ids *ids, const int64_t *slots, size_t count)
{
    size_t homes[AHEAD];
    uint64_t keys[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = least(AHEAD, count - start);
        for (size_t i = 0; i < some; i++)
            keys[i] = ids->keys[slots[start + i]];
        look_ahead(ids, keys, some, homes);
        for (size_t i = 0; i < some; i++) {
            uint32_t wanted = (uint32_t)slots[start + i] + 1, entry;
            size_t place = homes[i];
            while ((entry = ids->table[place]) != 0 && entry != wanted)
                place = next_place(ids, place);
            if (entry == wanted)
                take_out(ids, place);
        }
    }
}
