/* The rows of a ring; see rows.h. */
#include "rows.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define WORD_BITS 64
#define LINE_FLOATS 16
/* Rings from 16 MiB on do not stay in the caches, so their lines need not be read in to be written:
 * 14 ns instead of 47 for a row of 128 in a window of 51 MB. */
#define LARGE_RING_FLOATS (1 << 22)

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

/* Copy count floats past the caches, where the processor can: `to` at a 64-byte boundary. */
static void copy_past_caches(float *to, const float *from, size_t count)
{
#if defined(__SSE2__)
    for (; count >= 4; to += 4, from += 4, count -= 4)
        _mm_stream_ps(to, _mm_loadu_ps(from));
#endif
    memcpy(to, from, count * sizeof *to);
}

/* Rows into slots that do not wrap. A group's worth of them at a time is read once, and in the first
 * cache for whatever else is made of it. */
static void write(
    const ring_rows *ring, const omendb_lanes *lanes, size_t from, const float *rows, size_t count,
    int64_t time)
{
    const size_t dim = ring->dim, to = from + count;
    const bool is_large = ring->capacity * dim >= LARGE_RING_FLOATS && dim % LINE_FLOATS == 0 &&
                          (uintptr_t)ring->vectors % (LINE_FLOATS * sizeof(float)) == 0;
    for (size_t slot = from, next; slot < to; slot = next) {
        next = next_group(slot) < to ? next_group(slot) : to;
        const float *some = rows + (slot - from) * dim;
        if (is_large)
            copy_past_caches(ring->vectors + slot * dim, some, (next - slot) * dim);
        else
            memcpy(ring->vectors + slot * dim, some, (next - slot) * dim * sizeof *some);
        for (size_t i = slot; i < next; i++) {
            ring->norms[i] = (float)lanes->norm(rows + (i - from) * dim, dim);
            ring->times[i] = time;
        }
        if (ring->shadow != NULL)
            shadow_write(ring->shadow, slot, some, next - slot);
    }
    for (size_t slot = from; slot < to; slot = next_word(slot))
        ring->live[slot / WORD_BITS] |= bits_of(slot, to);
}

void rows_write(
    const ring_rows *ring, const omendb_lanes *lanes, size_t first, const float *rows, size_t count,
    int64_t time)
{
    size_t until_end = ring->capacity - first;
    if (count <= until_end) {
        write(ring, lanes, first, rows, count, time);
    } else {
        write(ring, lanes, first, rows, until_end, time);
        write(ring, lanes, 0, rows + until_end * ring->dim, count - until_end, time);
    }
#if defined(__SSE2__)
    _mm_sfence(); /* what went past the caches is seen before whatever this thread does next */
#endif
}
