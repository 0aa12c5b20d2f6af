/* Which live row has a u64 id: one open-addressing table that holds exactly the live rows.
 *
 * An entry is slot + 1; the id is read from the keys of that slot. Linear probing; removal shifts
 * back what follows (Knuth, The Art of Computer Programming, 6.4, algorithm R), so there are no
 * tombstones, nothing is ever cleared whole, and how full a table is depends on the live rows
 * alone. A row is taken out when it dies, before the key of its slot is overwritten: that keeps
 * the keys behind all entries intact.
 *
 * The salts are random for each table, so no choice of ids collides on purpose; answers do not
 * depend on them.
 */
#ifndef OMENDB_ID_TABLE_H
#define OMENDB_ID_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define SALTS 3

typedef struct {
    uint64_t *keys;  /* [capacity]: the id of the row in each slot, live or not */
    size_t capacity;  /* < 2**32 - 1 */
    uint32_t *places; /* [size]: slot + 1, or 0 for a free place */
    size_t size;      /* capacity < size < 2**32 */
    uint64_t salts[SALTS];
} id_table;

/* slots[i] = the slot of the live row with ids[i], or -1. */
void id_table_find(const id_table *table, const uint64_t *ids, size_t count, int64_t *slots);

/* Enter distinct ids for the rows of slots, which are in no entry. Writes the slots that had one of
 * these ids, whose rows die by it, to replaced [count]; returns their number. */
size_t id_table_enter(
    id_table *table, const uint64_t *ids, const int64_t *slots, size_t count, int64_t *replaced);

/* Take out the rows of slots, which die. One that the table does not hold is passed over. */
void id_table_remove(id_table *table, const int64_t *slots, size_t count);

/* The first of ids that was there before; count if they are distinct. scratch [size] is zeros. */
size_t first_duplicate(
    const uint64_t *ids, size_t count, const uint64_t salts[SALTS], uint32_t *scratch, size_t size);

#endif
