/* Every variant of what native/ computes, against plain loops, without Python.
 *
 * For processors that this machine emulates, and for sanitizers (tests/core/native/test_native_program.py).
 * Prints the names of the variants that ran, and a digest of all bits that were computed, which is
 * the same on every machine. Exits with 1, and says where, at the first bit that differs.
 */
#include "functions.h"
#include "id_table.h"
#include "rows.h"
#include "scan.h"
#include "score_bounds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 200
#define QUERIES 7
#define BLOCK_ROWS 256 /* ROWS in whole tiles */
#define MOST_DIM 131
#define K 10

static uint64_t digest = 0xcbf29ce484222325u; /* FNV-1a */
static bool is_counted = true; /* what others compute as well is counted once */
static const char *context = "";
static size_t context_dim;

static void take(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count && is_counted; i++)
        digest = (digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
}

static void expect(bool holds, const char *what)
{
    if (!holds) {
        printf("%s: %s, %zu dimensions\n", what, context, context_dim);
        exit(1);
    }
}

#define SEED 88172645463325252u
static uint64_t random_state = SEED;

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* About normal: the sum of twelve uniform numbers. Exact in every step. */
static float normal(void)
{
    int64_t sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int64_t)(random_bits() >> 44);
    return (float)(sum - 6 * (1 << 20)) / (1 << 20);
}

static void *get(size_t count, size_t bytes)
{
    size_t whole = (count * bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, whole);
    expect(memory != NULL, "memory");
    return memset(memory, 0, whole);
}

/* -- data that is hard for someone --------------------------------------------------------------*/

static const char *const kinds[] = {
    "normal", "each twice", "far from the origin", "one huge coordinate", "small integers", "zeros",
    "denormal", "products underflow", "near the largest norm", "beyond the shadow, some",
};
#define KINDS (sizeof kinds / sizeof *kinds)

static void fill(size_t kind, float *rows, size_t count, size_t dim)
{
    for (size_t i = 0; i < count * dim; i++) {
        float x = normal();
        switch (kind) {
        case 1: x = i >= count / 2 * dim ? rows[i - count / 2 * dim] : x; break;
        case 2: x += 1000; break;
        case 3: x *= i % dim == dim / 2 ? 1e6f : 1; break;
        case 4: x = (float)(random_bits() % 3); break;
        case 5: x = 0; break;
        case 6: x *= 1e-40f; break;
        case 7: x *= 1e-21f; break;
        case 8: x *= 0x1p56f / MOST_DIM; break;
        case 9: x *= i / dim % 5 == 0 ? 0x1p40f : 1; break;
        }
        rows[i] = x;
    }
}

/* -- the definition, in plain loops (PROTOCOL section 3) -----------------------------------------*/

static double plain_sum(bool is_l2, const float *x, const float *q, size_t dim)
{
    double l[8] = {0};
    for (size_t i = 0; i < dim; i++) {
        double a = x[i], b = q[i];
        double term = is_l2 ? (a - b) * (a - b) : a * b;
        l[i % 8] = l[i % 8] + term;
    }
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

static float plain_score(bool is_l2, const float *x, const float *q, size_t dim)
{
    double sum = plain_sum(is_l2, x, q, dim);
    return (float)(is_l2 ? -sum : sum) + 0.0f;
}

static void check_score_tile(const omendb_lanes *lanes, const float *rows, size_t dim)
{
    const float *x[LANES_TILE], *q[LANES_TILE];
    const double *wide[LANES_TILE];
    float scores[LANES_TILE][LANES_TILE];
    for (size_t i = 0; i < LANES_TILE; i++) {
        x[i] = rows + i * dim;
        q[i] = rows + (ROWS - 1 - i) * dim;
        double *made = malloc(lanes_wide(dim) * sizeof *made); /* to the byte, for sanitizers */
        expect(made != NULL, "memory");
        lanes_widen(q[i], dim, made);
        wide[i] = made;
    }
    for (int is_l2 = 0; is_l2 < 2; is_l2++) {
        lanes->score_tile(is_l2, x, q, dim, scores);
        for (size_t i = 0; i < LANES_TILE * LANES_TILE; i++) {
            float wanted = plain_score(is_l2, x[i % LANES_TILE], q[i / LANES_TILE], dim);
            float score = scores[i / LANES_TILE][i % LANES_TILE];
            expect(memcmp(&score, &wanted, sizeof score) == 0, lanes->name);
        }
        lanes->score_wide(is_l2, x, wide, dim, scores);
        for (size_t i = 0; i < LANES_TILE * LANES_TILE; i++) {
            float wanted = plain_score(is_l2, x[i % LANES_TILE], q[i / LANES_TILE], dim);
            expect(memcmp(&scores[i / LANES_TILE][i % LANES_TILE], &wanted, sizeof wanted) == 0, lanes->name);
        }
        lanes->score_rows(is_l2, x, wide[0], dim, scores[0]);
        for (size_t i = 0; i < LANES_TILE; i++) {
            float wanted = plain_score(is_l2, x[i], q[0], dim);
            expect(memcmp(&scores[0][i], &wanted, sizeof wanted) == 0, lanes->name);
        }
    }
    for (size_t i = 0; i < LANES_TILE; i++)
        free((void *)wide[i]);
}

static void check_lanes(const omendb_lanes *lanes, const float *rows, size_t dim)
{
    float mine[MOST_DIM], plain[MOST_DIM];
    check_score_tile(lanes, rows, dim);
    for (size_t i = 0; i + 1 < ROWS; i++) {
        const float *x = rows + i * dim, *q = x + dim;
        for (int is_l2 = 0; is_l2 < 2; is_l2++) {
            float score = lanes->score(is_l2, x, q, dim), wanted = plain_score(is_l2, x, q, dim);
            expect(memcmp(&score, &wanted, sizeof score) == 0, lanes->name);
            take(&score, sizeof score);
        }
        double length = lanes->norm(x, dim);
        expect(length == sqrt(plain_sum(false, x, x, dim)), lanes->name);
        take(&length, sizeof length);
        if (length == 0)
            continue;
        lanes->divide(x, length, dim, mine);
        for (size_t j = 0; j < dim; j++)
            plain[j] = (float)((double)x[j] / length);
        expect(memcmp(mine, plain, dim * sizeof *mine) == 0, lanes->name);
        take(mine, dim * sizeof *mine);
    }
}

/* -- tiles ---------------------------------------------------------------------------------------*/

static void check_tiles(
    const omendb_kernel *kernel, const omendb_kernel *plain, const omendb_shadow *shadow,
    const omendb_queries *queries)
{
    for (size_t tile = 0; tile < BLOCK_ROWS / TILE_ROWS; tile++) {
        omendb_tile_rows rows;
        for (size_t g = 0; g < TILE_GROUPS; g++) {
            size_t group = tile * TILE_GROUPS + g;
            rows.codes[g] = shadow->codes + group * queries->steps * STEP_BYTES;
            rows.factors[g] = shadow->factors + group * FACTORS * GROUP_ROWS;
        }
        for (size_t count = 1; count <= TILE_QUERIES; count++) {
            uint64_t hits[TILE_QUERIES], wanted[TILE_QUERIES];
            int32_t dots[TILE_QUERIES][TILE_ROWS], wanted_dots[TILE_QUERIES][TILE_ROWS];
            size_t first = QUERIES - count;
            kernel->tile(&rows, queries, first, count, hits, dots);
            plain->tile(&rows, queries, first, count, wanted, wanted_dots);
            for (size_t i = 0; i < count; i++) {
                expect(hits[i] == wanted[i], kernel->name);
                take(&hits[i], sizeof hits[i]);
                /* Slots never written may have any D. */
                size_t bytes = (tile < ROWS / TILE_ROWS ? TILE_ROWS : ROWS % TILE_ROWS) * 4;
                if (hits[i] == 0)
                    continue;
                expect(memcmp(dots[i], wanted_dots[i], bytes) == 0, kernel->name);
                take(dots[i], bytes);
            }
        }
    }
}

/* That the sweep of a query is that of plain C, and leaves out no row that reaches `floor`. */
static void check_sweep(
    const omendb_kernel *kernel, const omendb_kernel *plain, const omendb_shadow *shadow,
    const float *rows, const float *asked, float floor)
{
    const size_t tiles = BLOCK_ROWS / TILE_ROWS;
    uint64_t hits[BLOCK_ROWS / TILE_ROWS], wanted[BLOCK_ROWS / TILE_ROWS];
    int32_t start, *codes = get(shadow_steps(shadow->dim) + 1, sizeof *codes);
    omendb_query query;
    if (!query_prepare(shadow, asked, codes, &start, &query)) {
        free(codes);
        return;
    }
    omendb_sweeping sweeping = {
        .steps = shadow_coarse_steps(shadow->dim),
        .codes = codes,
        .start = start / 128 * NIBBLE_ZERO,
    };
    sweeping.second = query_aim_coarse(
        &query, floor, &sweeping.alpha, &sweeping.beta, &sweeping.theta);
    kernel->sweep(shadow->nibbles, shadow->coarse, tiles, &sweeping, hits);
    plain->sweep(shadow->nibbles, shadow->coarse, tiles, &sweeping, wanted);
    expect(memcmp(hits, wanted, sizeof hits) == 0, kernel->name);
    take(hits, sizeof hits);
    for (size_t row = 0; row < ROWS; row++) {
        bool passed = hits[row / TILE_ROWS] >> (row % TILE_ROWS) & 1;
        float score = plain_score(shadow->metric == L2, rows + row * shadow->dim, asked, shadow->dim);
        expect(passed || score < floor, "a row that the sweep left out");
    }
    free(codes);
}

static void check_all_sweeps(
    const omendb_shadow *shadow, const float *rows, const float *asked, const float *floors)
{
    const omendb_kernel *kernel, *plain = omendb_kernel_named("portable");
    for (size_t at = 0; (kernel = omendb_kernel_at(at)) != NULL; at++) {
        is_counted = kernel == plain;
        for (size_t i = 0; i < QUERIES; i++)
            check_sweep(kernel, plain, shadow, rows, asked + i * shadow->dim, floors[i]);
    }
}

static void check_all_tiles(const omendb_shadow *shadow, const float *asked, const float *floors)
{
    size_t steps = shadow_steps(shadow->dim);
    omendb_queries queries = {
        .steps = steps,
        .codes = get(QUERIES * steps, sizeof(int32_t)),
        .starts = get(QUERIES, sizeof(int32_t)),
        .alpha = get(QUERIES, sizeof(float)),
        .beta = get(QUERIES, sizeof(float)),
        .theta = get(QUERIES, sizeof(float)),
    };
    bool fits = true;
    for (size_t i = 0; i < QUERIES; i++) {
        omendb_query query;
        fits &= query_prepare(
            shadow, asked + i * shadow->dim, queries.codes + i * steps, queries.starts + i, &query);
        query_aim(&query, floors[i], queries.alpha + i, queries.beta + i, queries.theta + i);
    }
    const omendb_kernel *kernel, *plain = omendb_kernel_named("portable");
    for (size_t at = 0; fits && (kernel = omendb_kernel_at(at)) != NULL; at++) {
        is_counted = kernel == plain;
        check_tiles(kernel, plain, shadow, &queries);
    }
    free(queries.codes);
    free(queries.starts);
    free(queries.alpha);
    free(queries.beta);
    free(queries.theta);
}

/* -- the scan ------------------------------------------------------------------------------------*/

typedef struct {
    float score;
    int64_t slot;
} Ranked;

/* The ring is full and its oldest row is in slot 0, so that newer rows have larger slots. */
static int best_first(const void *a, const void *b)
{
    const Ranked *one = a, *other = b;
    if (one->score != other->score)
        return one->score < other->score ? 1 : -1;
    return one->slot < other->slot ? 1 : -1;
}

static void check_scan(
    omendb_scan *scan, const omendb_kernel *kernel, const omendb_lanes *lanes,
    Ranked (*wanted)[ROWS])
{
    uint32_t counts[QUERIES];
    int64_t slots[QUERIES * K];
    float scores[QUERIES * K];
    scan->kernel = kernel;
    scan->rows.lanes = lanes;
    scan->counts = counts;
    scan->slots = slots;
    scan->scores = scores;
    size_t thorough;
    scan->thorough = &thorough;
    int64_t total = omendb_top_k(scan);
    expect(total >= 0, "memory");
    for (size_t i = 0, at = 0; i < scan->count; i++) {
        expect(counts[i] == K, "count");
        for (size_t j = 0; j < K; j++, at++) {
            expect(slots[at] == wanted[i][j].slot, kernel->name);
            expect(memcmp(&scores[at], &wanted[i][j].score, sizeof *scores) == 0, kernel->name);
        }
    }
    take(&thorough, sizeof thorough);
    take(counts, scan->count * sizeof *counts);
    take(slots, (size_t)total * sizeof *slots);
    take(scores, (size_t)total * sizeof *scores);
}

/* The same query by query: such a scan sweeps. */
static void check_alone(omendb_scan scan, const omendb_kernel *kernel, Ranked (*wanted)[ROWS])
{
    const float *asked = scan.queries;
    for (size_t i = 0; i < QUERIES; i++) {
        scan.queries = asked + i * scan.shadow.dim;
        scan.count = 1;
        scan.threads = 1 + i % 3;
        check_scan(&scan, kernel, omendb_lanes_at(0), wanted + i);
    }
}

/* -- the same under decay ------------------------------------------------------------------------*/

static double by_rank[ROWS];

static int best_rank_first(const void *a, const void *b)
{
    const Ranked *one = a, *other = b;
    double left = by_rank[one->slot], right = by_rank[other->slot];
    if (left != right)
        return left < right ? 1 : -1;
    return one->slot < other->slot ? 1 : -1;
}

/* The rows of a query that have a rank, best first; how many. */
static size_t rank_rows(
    const Ranked *scored, const omendb_times *times, double half_life, Ranked *wanted)
{
    size_t count = 0;
    for (size_t i = 0; i < ROWS; i++) {
        double rank = scored[i].score;
        if (!(rank > 0) || times->integers[scored[i].slot] == INT64_MIN)
            continue;
        times->functions->log2(&rank, 1, &rank);
        by_rank[scored[i].slot] = rank + (double)times->integers[scored[i].slot] / 1e6 / half_life;
        wanted[count++] = scored[i];
    }
    qsort(wanted, count, sizeof *wanted, best_rank_first);
    return count;
}

/* For `count` of the queries, from first on; one by itself sweeps. */
static void check_decayed(omendb_scan scan, Ranked (*scored)[ROWS], size_t first, size_t count)
{
    int64_t numbers[ROWS], slots[QUERIES * K];
    double half_lives[QUERIES], values[QUERIES * K];
    uint32_t counts[QUERIES];
    float scores[QUERIES * K];
    size_t thorough;
    for (size_t i = 0; i < ROWS; i++)
        numbers[i] = i % 9 == 0 ? INT64_MIN : 1700000000000000 + (int64_t)(i * i % 97) * 300000;
    for (size_t i = 0; i < QUERIES; i++)
        half_lives[i] = first + i == 0 ? 1e-3 : (double)((first + i) * (first + i));
    omendb_times times = {
        .integers = numbers, .per_second = 1e6, .functions = omendb_functions_at(0)};
    scan.times = &times, scan.half_lives = half_lives, scan.values = values;
    scan.counts = counts, scan.slots = slots, scan.scores = scores, scan.thorough = &thorough;
    scan.queries += first * scan.shadow.dim, scan.count = count;
    expect(omendb_top_k(&scan) >= 0, "memory");
    for (size_t i = 0, at = 0; i < count; i++) {
        Ranked wanted[ROWS];
        size_t ranked = rank_rows(scored[first + i], &times, half_lives[i], wanted);
        expect(counts[i] == (ranked < K ? ranked : K), "count of ranks");
        for (size_t j = 0; j < counts[i]; j++, at++) {
            expect(slots[at] == wanted[j].slot, "slot by rank");
            expect(values[at] == by_rank[wanted[j].slot], "rank");
            expect(scores[at] == wanted[j].score, "score by rank");
            take(&values[at], sizeof *values);
        }
    }
}

/* -- bounds of all scores ------------------------------------------------------------------------*/

static void check_score_bounds(const omendb_scan *scan, Ranked (*scored)[ROWS])
{
    static float lower[QUERIES * BLOCK_ROWS], upper[QUERIES * BLOCK_ROWS];
    omendb_score_bounds asked = {
        .kernel = scan->kernel,
        .shadow = scan->shadow,
        .queries = scan->queries,
        .count = QUERIES,
        .tiles = BLOCK_ROWS / TILE_ROWS,
        .lower = lower,
        .upper = upper,
    };
    expect(score_bounds(&asked), "memory");
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t row = 0; row < ROWS; row++) {
            size_t place = i * BLOCK_ROWS + (size_t)scored[i][row].slot;
            float score = scored[i][row].score;
            expect(lower[place] <= score && score <= upper[place], "bounds of scores");
            take(&lower[place], sizeof *lower);
            take(&upper[place], sizeof *upper);
        }
}

/* -- all of a metric -----------------------------------------------------------------------------*/

static void check_metric(const float *rows, const float *asked, size_t dim, omendb_metric metric)
{
    static Ranked wanted[QUERIES][ROWS];
    float *centre = get(dim, sizeof *centre), floors[QUERIES];
    size_t steps = shadow_steps(dim);
    omendb_shadow shadow = {
        .codes = get(BLOCK_ROWS * steps, STEP_DIMS),
        .factors = get(BLOCK_ROWS / GROUP_ROWS, FACTORS * GROUP_ROWS * sizeof(float)),
        .nibbles = get(BLOCK_ROWS * shadow_coarse_steps(dim), STEP_DIMS),
        .coarse = get(BLOCK_ROWS / GROUP_ROWS, COARSE_FACTORS * GROUP_ROWS * sizeof(float)),
        .centre = centre,
        .dim = dim,
        .slots = ROWS,
        .metric = metric,
    };
    for (size_t j = 0; j < dim; j += 2)
        centre[j] = rows[j];
    shadow_write(&shadow, 0, rows, 21);
    shadow_write(&shadow, 21, rows + 21 * dim, ROWS - 21);
    is_counted = true;
    take(shadow.codes, ROWS / GROUP_ROWS * steps * STEP_BYTES);
    take(shadow.factors, ROWS / GROUP_ROWS * FACTORS * GROUP_ROWS * sizeof(float));
    take(shadow.nibbles, ROWS / GROUP_ROWS * shadow_coarse_steps(dim) * STEP_BYTES);
    take(shadow.coarse, ROWS / GROUP_ROWS * COARSE_FACTORS * GROUP_ROWS * sizeof(float));
    for (size_t i = 0; i < QUERIES; i++) {
        for (size_t row = 0; row < ROWS; row++) {
            const float *x = rows + row * dim;
            wanted[i][row] = (Ranked){plain_score(metric == L2, x, asked + i * dim, dim), (int64_t)row};
        }
        qsort(wanted[i], ROWS, sizeof **wanted, best_first);
        floors[i] = wanted[i][K].score;
    }
    check_all_tiles(&shadow, asked, floors);
    check_all_sweeps(&shadow, rows, asked, floors);

    uint64_t mask[BLOCK_ROWS / 64] = {~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, 0xff};
    int64_t k[QUERIES], mask_of[QUERIES] = {0};
    float min_scores[QUERIES];
    for (size_t i = 0; i < QUERIES; i++) {
        k[i] = K;
        min_scores[i] = -INFINITY;
    }
    omendb_scan scan = {
        .shadow = shadow,
        .rows = {.vectors = rows, .slots = ROWS, .dim = dim, .used = ROWS, .is_l2 = metric == L2},
        .queries = asked,
        .count = QUERIES,
        .k = k,
        .min_scores = min_scores,
        .masks = mask,
        .mask_count = 1,
        .words = BLOCK_ROWS / 64,
        .mask_of = mask_of,
    };
    const omendb_kernel *kernel;
    for (size_t at = 0; (kernel = omendb_kernel_at(at)) != NULL; at++) {
        is_counted = strcmp(kernel->name, "portable") == 0;
        check_scan(&scan, kernel, omendb_lanes_at(0), wanted);
        check_alone(scan, kernel, wanted);
        check_decayed(scan, wanted, 0, QUERIES);
        for (size_t i = 0; i < QUERIES; i++)
            check_decayed(scan, wanted, i, 1);
        check_score_bounds(&scan, wanted);
    }
    free(centre);
    free(shadow.codes);
    free(shadow.factors);
    free(shadow.nibbles);
    free(shadow.coarse);
}

/* -- functions -----------------------------------------------------------------------------------*/

/* Numbers of all magnitudes, and powers that are neither 0 nor infinite. */
static void check_functions(const omendb_functions *functions, const omendb_functions *plain)
{
    enum { COUNT = 4099, RESULTS = 4 };
    static double x[COUNT], y[COUNT], results[RESULTS][COUNT], wanted[RESULTS][COUNT];
    random_state = SEED; /* the same numbers, however many variants there are */
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t bits = random_bits() >> (i % 4 ? 1 : 0);
        memcpy(&x[i], &bits, sizeof bits);
        y[i] = (double)(int64_t)random_bits() * (i % 3 ? 0x1p-63 : 0x1p-53);
    }
    const omendb_functions *const both[] = {functions, plain};
    for (size_t i = 0; i < 2; i++) {
        double(*out)[COUNT] = i == 0 ? results : wanted;
        both[i]->log(x, COUNT, out[0]);
        both[i]->log2(x, COUNT, out[1]);
        both[i]->exp(y, COUNT, out[2]);
        both[i]->pow(x, y, COUNT, out[3]);
    }
    context = "functions";
    expect(memcmp(results, wanted, sizeof results) == 0, functions->name);
    is_counted = functions == plain;
    take(results, sizeof results);
}

static void check_all_functions(void)
{
    const omendb_functions *functions;
    for (size_t at = 0; (functions = omendb_functions_at(at)) != NULL; at++)
        check_functions(functions, omendb_functions_named("portable"));
}

/* -- a ring and its ids --------------------------------------------------------------------------*/

/* Adds into a small ring beside a plain list of who has which slot. */
static void check_adds(void)
{
    enum { CAPACITY = 70, PLACES = 175, DIM = 5, IDS = 100 };
    static uint64_t keys[CAPACITY], live[2];
    static uint32_t places[PLACES];
    static float vectors[CAPACITY * DIM], norms[CAPACITY];
    static int64_t times[CAPACITY];
    id_table table = {keys, CAPACITY, places, PLACES, {1, 2, 3}};
    ring_rows ring = {vectors, norms, live, times, NULL, CAPACITY, DIM};
    int64_t slot_of[IDS];
    size_t first = 0;
    memset(slot_of, -1, sizeof slot_of);
    context = "adds";
    is_counted = true;
    for (int round = 0; round < 2000; round++) {
        size_t count = random_bits() % CAPACITY + 1, from = random_bits() % IDS;
        uint64_t ids[CAPACITY];
        int64_t slots[CAPACITY], evicted[CAPACITY], replaced[CAPACITY], found[IDS];
        float rows[CAPACITY * DIM];
        for (size_t i = 0; i < count; i++) {
            ids[i] = (from + i * 3) % IDS; /* distinct: 3 and 100 have no common divisor */
            slots[i] = (int64_t)((first + i) % CAPACITY);
            for (size_t j = 0; j < DIM; j++)
                rows[i * DIM + j] = normal();
        }
        uint32_t scratch[2 * IDS] = {0};
        expect(first_duplicate(ids, count, table.salts, scratch, 2 * IDS) == count, "ids");
        size_t gone = rows_evict(&ring, first, count, evicted);
        id_table_remove(&table, evicted, gone);
        for (size_t i = 0; i < IDS; i++)
            for (size_t j = 0; j < gone; j++)
                slot_of[i] = slot_of[i] == evicted[j] ? -1 : slot_of[i];
        size_t died = id_table_enter(&table, ids, slots, count, replaced);
        rows_kill(&ring, replaced, died);
        rows_write(&ring, omendb_lanes_at(0), first, rows, count, round);
        for (size_t i = 0; i < count; i++)
            slot_of[ids[i]] = slots[i];
        uint64_t all[IDS], bits[2] = {0, 0};
        for (uint64_t i = 0; i < IDS; i++) {
            all[i] = i;
            if (slot_of[i] >= 0)
                bits[slot_of[i] / 64] |= (uint64_t)1 << slot_of[i] % 64;
        }
        id_table_find(&table, all, IDS, found);
        expect(memcmp(found, slot_of, sizeof found) == 0, "a slot");
        expect(memcmp(bits, live, sizeof bits) == 0, "a live bit");
        first = (first + count) % CAPACITY;
        take(vectors, sizeof vectors);
        take(norms, sizeof norms);
    }
}

/* False if a row is too short for cosine. */
static bool normalise(float *rows, size_t count, size_t dim)
{
    const omendb_lanes *lanes = omendb_lanes_at(0);
    for (size_t i = 0; i < count; i++) {
        double length = lanes->norm(rows + i * dim, dim);
        if (length < 0x1p-62)
            return false;
        lanes->divide(rows + i * dim, length, dim, rows + i * dim);
    }
    return true;
}

static void check(const char *kind, float *rows, float *asked, size_t dim)
{
    static const char *const names[] = {"avx512", "avx2", "portable"};
    context = kind;
    context_dim = dim;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const omendb_lanes *lanes = omendb_lanes_named(names[i]);
        is_counted = strcmp(names[i], "portable") == 0;
        if (lanes != NULL)
            check_lanes(lanes, rows, dim);
    }
    check_metric(rows, asked, dim, DOT);
    check_metric(rows, asked, dim, L2);
    if (normalise(rows, ROWS, dim) && normalise(asked, QUERIES, dim))
        check_metric(rows, asked, dim, COSINE);
}

int main(void)
{
    static const size_t dims[] = {1, 3, 4, 8, 17, 64, MOST_DIM};
    const omendb_kernel *kernel;
    for (size_t at = 0; (kernel = omendb_kernel_at(at)) != NULL; at++)
        printf("%s ", kernel->name);
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            float *rows = get(ROWS * dims[i], sizeof *rows);
            float *asked = get(QUERIES * dims[i], sizeof *asked);
            fill(kind, rows, ROWS, dims[i]);
            fill(kind, asked, QUERIES - 1, dims[i]);
            memcpy(asked + (QUERIES - 1) * dims[i], rows, dims[i] * sizeof *rows);
            check(kinds[kind], rows, asked, dims[i]);
            free(rows);
            free(asked);
        }
    }
    check_adds();
    check_all_functions();
    printf("%016llx\n", (unsigned long long)digest);
    return 0;
}
