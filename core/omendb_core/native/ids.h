/* Which live row has a u64 id: an open-addressing table; see ids.c. */
#ifndef OMENDB_IDS_H
#define OMENDB_IDS_H

#include <stddef.h>
#include <stdint.h>

#define OMENDB_SALTS 3

typedef struct {
    uint64_t *keys;  /* [capacity]: the id of the row in each slot, live or not */
    size_t capacity; /* < 2**32 - 1 */
    uint32_t *table; /* [size], size > capacity: slot + 1, or 0 for a free place */
    size_t size;     /* < 2**32 */
    uint64_t salts[OMENDB_SALTS];
} omendb_ids;

/* slots[i] = the slot of the live row with ids[i], or -1. */
void omendb_ids_find(const omendb_ids *ids, const uint64_t *asked, size_t count, int64_t *slots);

/* Enter ids for slots that follow each other from first on, wrapping; these hold no live row.
 * Writes the slots of the rows that had one of these ids to replaced; returns their number. */
size_t omendb_ids_assign(
    omendb_ids *ids, const uint64_t *given, size_t count, size_t first, int64_t *replaced);

/* The rows in slots leave. A slot that the table does not hold is passed over. */
void omendb_ids_release(omendb_ids *ids, const int64_t *slots, size_t count);

#endif
