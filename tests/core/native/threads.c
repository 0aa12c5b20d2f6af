/* Queries that threads share, from several threads at once, without Python: for the thread sanitizer
 * (tests/core/native/test_native_program.py). Exits with 1 at the first answer that is another than alone, and
 * where a helper is asked right after one that was late.
 */
#define _POSIX_C_SOURCE 200809L
#include "helpers.h"
#include "scan.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 16384
#define DIM 16
#define K 10
#define QUERIES 12
#define SEARCHERS 3
#define ROUNDS 4

static float rows[ROWS * DIM];
static uint64_t mask[ROWS / 64];
static omendb_shadow shadow;
static int64_t wanted[QUERIES][K];

static void *get(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == NULL)
        exit(1);
    return memset(memory, 0, bytes);
}

/* The slots of the best for one query; how many. */
static size_t search(size_t query, size_t threads, int64_t *slots)
{
    const int64_t k = K, mask_of = 0;
    const float least = -INFINITY;
    uint32_t count;
    float scores[K];
    size_t thorough;
    omendb_scan scan = {
        .kernel = omendb_kernel_at(0),
        .shadow = shadow,
        .rows = {.lanes = omendb_lanes_at(0), .vectors = rows, .slots = ROWS, .dim = DIM, .used = ROWS, .is_l2 = true},
        .queries = rows + query * DIM,
        .count = 1,
        .k = &k,
        .min_scores = &least,
        .masks = mask,
        .mask_count = 1,
        .words = ROWS / 64,
        .mask_of = &mask_of,
        .counts = &count,
        .slots = slots,
        .scores = scores,
        .threads = threads,
        .thorough = &thorough,
    };
    return omendb_top_k(&scan) == K ? count : 0;
}

static void *search_all(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < ROUNDS * QUERIES; i++) {
        int64_t slots[K];
        size_t query = i % QUERIES;
        if (search(query, 4, slots) != K || memcmp(slots, wanted[query], sizeof slots) != 0) {
            printf("query %zu: another answer than alone\n", query);
            exit(1);
        }
    }
    return NULL;
}

/* -- a helper that the system puts aside ---------------------------------------------------------*/

#define PATIENCE_SECONDS 120.0
#define RESTS 4

typedef struct {
    atomic_int calls;
    atomic_bool has_helper, is_done;
    bool is_late, waits_for_helper;
    pthread_t caller;
    double own_seconds;
} Late;

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The caller waits for a helper to have come, if it is to; this stays on for longer than that took. */
static void be_late(void *job)
{
    Late *late = job;
    const double began = seconds();
    atomic_fetch_add(&late->calls, 1);
    if (!pthread_equal(pthread_self(), late->caller)) {
        atomic_store(&late->has_helper, true);
        while (late->is_late && !atomic_load(&late->is_done) && seconds() < began + PATIENCE_SECONDS)
            continue;
        const double until = late->is_late ? seconds() + 2 * late->own_seconds + 1e-3 : 0;
        while (late->is_late && seconds() < until)
            continue;
        return;
    }
    while (late->waits_for_helper && !atomic_load(&late->has_helper) &&
           seconds() < began + PATIENCE_SECONDS)
        continue;
    late->own_seconds = seconds() - began;
    atomic_store(&late->is_done, true);
}

static int calls_of(bool is_late, bool waits_for_helper)
{
    Late late = {.is_late = is_late, .waits_for_helper = waits_for_helper, .caller = pthread_self()};
    helpers_do(be_late, &late, 1);
    return late.calls;
}

/* Whoever waited long for a helper does without for some calls, then has one again. */
static bool does_without_after_a_late_one(void)
{
    if (calls_of(true, true) != 2)
        return false;
    for (int i = 0; i < RESTS; i++)
        if (calls_of(false, false) != 1)
            return false;
    return calls_of(false, true) == 2;
}

int main(void)
{
    static float centre[DIM];
    uint64_t state = 88172645463325252u;
    pthread_t searchers[SEARCHERS];
    for (size_t i = 0; i < ROWS * DIM; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        rows[i] = (float)(state >> 40) / (1 << 24) - 0.5f;
    }
    memset(mask, 0xff, sizeof mask);
    shadow = (omendb_shadow){
        .codes = get(ROWS * DIM),
        .factors = get(ROWS * FACTORS * sizeof(float)),
        .nibbles = get(ROWS * shadow_coarse_steps(DIM) * STEP_DIMS),
        .coarse = get(ROWS * COARSE_FACTORS * sizeof(float)),
        .centre = centre,
        .dim = DIM,
        .slots = ROWS,
        .metric = L2,
    };
    shadow_write(&shadow, 0, rows, ROWS);
    if (!does_without_after_a_late_one())
        return 1;
    for (size_t i = 0; i < QUERIES; i++)
        if (search(i, 1, wanted[i]) != K)
            return 1;
    for (size_t i = 0; i < SEARCHERS; i++)
        if (pthread_create(&searchers[i], NULL, search_all, NULL) != 0)
            return 1;
    for (size_t i = 0; i < SEARCHERS; i++)
        pthread_join(searchers[i], NULL);
    helpers_dismiss();
    return helpers_count() == 0 ? 0 : 1;
}
