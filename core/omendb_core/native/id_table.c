/* Which live row has a u64 id; see id_table.h. */
#include "id_table.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Ids whose places are computed, and on their way into the cache, before the first is looked at:
 * in a window of a million rows every look misses all caches. */
#define AHEAD 32

static inline size_t home_of(uint64_t id, const uint64_t salts[SALTS], size_t size)
{
    /* A multiplication carries low bits up, the shift brings high bits down. */
    uint64_t mixed = (id ^ salts[0]) * (salts[1] | 1);
    mixed ^= mixed >> 32;
    mixed *= salts[2] | 1;
    return (size_t)(((mixed >> 32) * (uint64_t)size) >> 32);
}

static inline size_t after(size_t place, size_t size)
{
    return place + 1 == size ? 0 : place + 1;
}

/* Homes of count <= AHEAD ids; what stands there is fetched. */
static void look_ahead(const id_table *table, const uint64_t *ids, size_t count, size_t *homes)
{
    for (size_t i = 0; i < count; i++) {
        homes[i] = home_of(ids[i], table->salts, table->size);
        __builtin_prefetch(&table->places[homes[i]], 1);
    }
}

/* The same, and the keys behind what stands there. */
static void look_further(const id_table *table, const uint64_t *ids, size_t count, size_t *homes)
{
    look_ahead(table, ids, count, homes);
    for (size_t i = 0; i < count; i++) {
        uint32_t entry = table->places[homes[i]];
        if (entry != 0)
            __builtin_prefetch(&table->keys[entry - 1]);
    }
}

/* The place of id, from its home on: that of its entry, or the free one where it would go. */
static inline size_t place_of(const id_table *table, uint64_t id, size_t home)
{
    size_t place = home;
    uint32_t entry;
    while ((entry = table->places[place]) != 0 && table->keys[entry - 1] != id)
        place = after(place, table->size);
    return place;
}

void id_table_find(const id_table *table, const uint64_t *ids, size_t count, int64_t *slots)
{
    size_t homes[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = MIN(AHEAD, count - start);
        look_further(table, ids + start, some, homes);
        for (size_t i = 0; i < some; i++)
            slots[start + i] =
                (int64_t)table->places[place_of(table, ids[start + i], homes[i])] - 1;
    }
}

size_t id_table_enter(
    id_table *table, const uint64_t *ids, const int64_t *slots, size_t count, int64_t *replaced)
{
    size_t homes[AHEAD], found = 0;
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = MIN(AHEAD, count - start);
        look_further(table, ids + start, some, homes);
        for (size_t i = 0; i < some; i++) {
            size_t place = place_of(table, ids[start + i], homes[i]);
            uint32_t entry = table->places[place];
            if (entry != 0)
                replaced[found++] = (int64_t)entry - 1;
            table->places[place] = (uint32_t)slots[start + i] + 1;
            table->keys[slots[start + i]] = ids[start + i];
        }
    }
    return found;
}

/* Free a place, and move up the entries that could not be reached any more. */
static void free_place(id_table *table, size_t hole)
{
    uint32_t entry;
    for (size_t at = after(hole, table->size); (entry = table->places[at]) != 0;
         at = after(at, table->size)) {
        size_t home = home_of(table->keys[entry - 1], table->salts, table->size);
        /* It stays if its home lies, going round, after the hole and no further than it. */
        int stays = hole < at ? hole < home && home <= at : hole < home || home <= at;
        if (!stays) {
            table->places[hole] = entry;
            hole = at;
        }
    }
    table->places[hole] = 0;
}

void id_table_remove(id_table *table, const int64_t *slots, size_t count)
{
    size_t homes[AHEAD];
    uint64_t ids[AHEAD];
    for (size_t start = 0; start < count; start += AHEAD) {
        size_t some = MIN(AHEAD, count - start);
        for (size_t i = 0; i < some; i++)
            ids[i] = table->keys[slots[start + i]];
        look_ahead(table, ids, some, homes);
        for (size_t i = 0; i < some; i++) {
            uint32_t wanted = (uint32_t)slots[start + i] + 1, entry;
            size_t place = homes[i];
            while ((entry = table->places[place]) != 0 && entry != wanted)
                place = after(place, table->size);
            if (entry != 0)
                free_place(table, place);
        }
    }
}

size_t first_duplicate(
    const uint64_t *ids, size_t count, const uint64_t salts[SALTS], uint32_t *scratch, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        size_t place = home_of(ids[i], salts, size);
        for (; scratch[place] != 0; place = after(place, size))
            if (ids[scratch[place] - 1] == ids[i])
                return i;
        scratch[place] = (uint32_t)i + 1;
    }
    return count;
}
