/* The rows of a ring; see rows.h. */
#include "rows.h"

#include <string.h>

#define WORD_BITS 64

/* The bits of slots from … to - 1 that lie in the word of from. */
static uint64_t bits_of(size_t from, size_t to)
{
    size_t low = from % WORD_BITS, count = to - from;
    uint64_t ones = count >= WORD_BITS ? UINT64_MAX : ((uint64_t)1 << count) - 1;
    return ones << low;
}

static size_t next_word(size_t slot)
{
    return slot / WORD_BITS * WORD_BITS + WORD_BITS;
}

static size_t next_group(size_t slot)
{
    return slot / GROUP_ROWS * GROUP_ROWS + GROUP_ROWS;
}

void rows_kill(const ring_rows *ring, const int64_t *slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ring->live[slots[i] / WORD_BITS] &= ~((uint64_t)1 << (slots[i] % WORD_BITS));
}

static size_t evict(const ring_rows *ring, size_t from, size_t to, int64_t *killed)
{
    size_t found = 0;
    for (; from < to; from = next_word(from)) {
        uint64_t *word = &ring->live[from / WORD_BITS];
        uint64_t leaving = *word & bits_of(from, to);
        *word &= ~leaving;
        for (; leaving != 0; leaving &= leaving - 1)
            killed[found++] =
                (int64_t)(from / WORD_BITS * WORD_BITS) + __builtin_ctzll(leaving);
    }
    return found;
}

size_t rows_evict(const ring_rows *ring, size_t first, size_t count, int64_t *killed)
{
    if (first + count <= ring->capacity)
        return evict(ring, first, first + count, killed);
    size_t found = evict(ring, first, ring->capacity, killed);
    return found + evict(ring, 0, first + count - ring->capacity, killed + found);
}

/* A few rows, which are in the first cache until all is done with them. */
static void write_some(
    const ring_rows *ring, const omendb_lanes *lanes, size_t from, const float *rows, size_t stride,
    size_t count, int64_t time)
{
    for (size_t i = 0; i < count; i++) {
        float *row = ring->vectors + (from + i) * ring->dim;
        memcpy(row, rows + i * stride, ring->dim * sizeof *row);
        ring->norms[from + i] = (float)lanes->norm(row, ring->dim);
        ring->times[from + i] = time;
    }
    if (ring->shadow != NULL)
        shadow_write(ring->shadow, from, ring->vectors + from * ring->dim, count);
}

static void write(
    const ring_rows *ring, const omendb_lanes *lanes, size_t from, const float *rows, size_t stride,
    size_t count, int64_t time)
{
    size_t to = from + count;
    for (size_t slot = from; slot < to; slot = next_group(slot)) {
        size_t some = (next_group(slot) < to ? next_group(slot) : to) - slot;
        write_some(ring, lanes, slot, rows + (slot - from) * stride, stride, some, time);
    }
    for (size_t slot = from; slot < to; slot = next_word(slot))
        ring->live[slot / WORD_BITS] |= bits_of(slot, to);
}

void rows_write(
    const ring_rows *ring, const omendb_lanes *lanes, size_t first, const float *rows,
    size_t stride, size_t count, int64_t time)
{
    size_t until_end = ring->capacity - first;
    if (count <= until_end) {
        write(ring, lanes, first, rows, stride, count, time);
        return;
    }
    write(ring, lanes, first, rows, stride, until_end, time);
    write(ring, lanes, 0, rows + until_end * stride, stride, count - until_end, time);
}
