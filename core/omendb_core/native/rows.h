/* The rows of a ring, as ring.py lays them out: vectors, norms, the live mask, times, shadow. */
#ifndef OMENDB_ROWS_H
#define OMENDB_ROWS_H

#include "lanes.h"
#include "shadow.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    float *vectors; /* [capacity][dim] */
    float *norms;   /* [capacity] */
    uint64_t *live; /* bit b of word w stands for slot 64 w + b */
    int64_t *times; /* [capacity] */
    const omendb_shadow *shadow; /* or NULL */
    size_t capacity, dim;
} ring_rows;

/* Clear the live bits of slots. */
void rows_kill(const ring_rows *ring, const int64_t *slots, size_t count);

/* Kill the live rows among count <= capacity slots from first on, going round; writes these, in
 * that order, to killed [count], and returns their number. */
size_t rows_evict(const ring_rows *ring, size_t first, size_t count, int64_t *killed);

/* Copy rows float32 [count][dim] into the slots from first on, going round: with their norms and
 * shadow, live, of that time. */
void rows_write(
    const ring_rows *ring, const omendb_lanes *lanes, size_t first, const float *rows, size_t count,
    int64_t time);

#endif
