/* Before the first tile of a scan: which queries share a pass, and what each starts from.
 *
 * Queries take part in a pass: those whose masks hold most groups of 16 rows together, the others
 * with those of the same mask, over the groups that this holds.
 */
#include "scan_work.h"

#include "cpu.h"

#include <math.h>
#include <stdlib.h>

/* What a query takes of a pass, over what reading memory takes (34 and 76 us of 110 at 100,000 x 128);
 * see worth_a_pass. */
#define SHARED_COST 0.45
#define READING_COST 1.0

/* Rows of a mask are scored that are one in so many of all, those that a greater k takes counted: to keep
 * the best of many takes as long as to score some. At 100,000 x 128 and k = 10 scoring 1% takes 0.39 and 0.58
 * of the time for one query and for 32, 5% 0.42 and 0.77, 8% 0.6 and 0.87; where memory gives the rows,
 * 400,000 x 128, it is 0.31 and 0.59, 0.30 and 0.95, 0.53 and 1.3. */
#define SCORED_OF_ONE 12
#define SCORED_OF_MANY 20
#define SCORED_K 5

/* Rows may wait to be looked at, one for so many of k: while they do, further rows pass that they would
 * have kept out (k = 10: of 2, 4 and 8 the first is fastest, k = 100: no difference). */
#define WAITING_OF_K 2

/* The highest bit of each group of a word, and the others. */
#define GROUP_HIGHEST 0x8000800080008000u
#define GROUP_OTHERS 0x7fff7fff7fff7fffu

/* How many rows a mask holds, and how many groups and words hold any. Without a branch, and told to count bits
 * by an instruction: of 100,000 rows 0.4 us instead of 2. */
#define COUNT_MASK(name, attributes)                                                               \
    attributes static void name(                                                                   \
        const uint64_t *words, size_t count, uint64_t *rows, size_t *groups, size_t *wanted)       \
    {                                                                                              \
        uint64_t found = 0, there = 0, some = 0;                                                   \
        for (size_t i = 0; i < count; i++) {                                                       \
            const uint64_t word = words[i];                                                        \
            const uint64_t any = ((word & GROUP_OTHERS) + GROUP_OTHERS) | word;                    \
            found += (uint64_t)__builtin_popcountll(word);                                         \
            there += (uint64_t)__builtin_popcountll(any & GROUP_HIGHEST);                          \
            some += word != 0;                                                                     \
        }                                                                                          \
        *rows = found;                                                                             \
        *groups = (size_t)there;                                                                   \
        *wanted = (size_t)some;                                                                    \
    }

COUNT_MASK(count_mask_portable, )
#if defined(__x86_64__)
COUNT_MASK(count_mask_avx2, __attribute__((target("avx2,popcnt"))))
#endif

static void count_mask(scan_work *work, size_t mask)
{
    const omendb_scan *scan = work->scan;
    const uint64_t *words = scan_mask_at(scan, mask);
    uint64_t *rows = &work->rows_of[mask];
    size_t *groups = &work->groups_of[mask], *wanted = &work->words_of[mask];
#if defined(__x86_64__)
    if (cpu_has_avx2()) {
        count_mask_avx2(words, scan->words, rows, groups, wanted);
        return;
    }
#endif
    count_mask_portable(words, scan->words, rows, groups, wanted);
}

/* Whether few enough of all rows are in a mask to score each of them, for so many queries of this k. */
static bool worth_scoring(uint64_t rows, size_t used, size_t asking, size_t k)
{
    const size_t of = asking > 1 ? SCORED_OF_MANY : SCORED_OF_ONE;
    return rows > 0 && (rows + SCORED_K * k) * of <= used;
}

/* Whether `asking` queries of a mask with a share of all groups are faster off by themselves. */
static bool worth_a_pass(double share, size_t asking)
{
    return share * (SHARED_COST + READING_COST / (double)asking) < SHARED_COST;
}

static bool get_memory(scan_work *work)
{
    size_t count = work->scan->count, masks = work->scan->mask_count;
    size_t steps = work->queries.steps = shadow_steps(work->scan->shadow.dim);
    work->seekers = calloc(count, sizeof *work->seekers);
    work->queries.codes = malloc(count * steps * sizeof(int32_t));
    work->queries.starts = malloc(count * sizeof(int32_t));
    work->queries.alpha = malloc(3 * count * sizeof(float));
    work->order = malloc(count * sizeof *work->order);
    work->rows_of = calloc(masks, sizeof *work->rows_of);
    work->groups_of = calloc(masks, sizeof *work->groups_of);
    work->words_of = calloc(masks, sizeof *work->words_of);
    work->chosen = malloc(count * sizeof *work->chosen);
    work->is_alone = calloc(masks, sizeof *work->is_alone);
    work->is_scored = calloc(masks, sizeof *work->is_scored);
    if (!work->seekers || !work->queries.codes || !work->queries.starts || !work->queries.alpha ||
        !work->chosen || !work->order || !work->rows_of || !work->groups_of || !work->is_alone ||
        !work->is_scored || !work->words_of)
        return false;
    work->queries.beta = work->queries.alpha + count;
    work->queries.theta = work->queries.beta + count;
    return true;
}

/* Which masks make a pass of their own; order: queries of the common pass first, then by mask. */
static void plan(scan_work *work)
{
    const omendb_scan *scan = work->scan;
    size_t groups = (scan->rows.used + GROUP_ROWS - 1) / GROUP_ROWS, place = 0;
    for (size_t mask = 0; mask < scan->mask_count; mask++) {
        size_t asking = 0, k = 0;
        for (size_t i = 0; i < scan->count; i++) {
            if ((size_t)scan->mask_of[i] != mask)
                continue;
            asking++;
            k = (size_t)scan->k[i] > k ? (size_t)scan->k[i] : k;
        }
        count_mask(work, mask);
        if (asking == 0 || groups == 0)
            continue;
        work->is_scored[mask] = worth_scoring(work->rows_of[mask], scan->rows.used, asking, k);
        work->is_alone[mask] =
            work->is_scored[mask] ||
            worth_a_pass((double)work->groups_of[mask] / (double)groups, asking);
    }
    for (size_t i = 0; i < scan->count; i++)
        if (!work->is_alone[scan->mask_of[i]])
            work->order[i] = place++;
    for (size_t mask = 0; mask < scan->mask_count; mask++)
        for (size_t i = 0; work->is_alone[mask] && i < scan->count; i++)
            if ((size_t)scan->mask_of[i] == mask)
                work->order[i] = place++;
}

static bool prepare(scan_work *work, size_t asked)
{
    const omendb_scan *scan = work->scan;
    size_t place = work->order[asked];
    scan_seeker *seeker = &work->seekers[place];
    seeker->asked = asked;
    seeker->mask = (size_t)scan->mask_of[asked];
    seeker->is_scored = work->is_scored[seeker->mask];
    uint64_t rows = work->rows_of[seeker->mask];
    uint64_t k = (uint64_t)scan->k[asked] < rows ? (uint64_t)scan->k[asked] : rows;
    const float *values = scan->queries + asked * scan->shadow.dim;
    omendb_order order = {0};
    if (scan->times != NULL)
        order = order_of(scan->times, scan->half_lives[asked]);
    if (seeker->is_scored)
        return candidates_begin_scored(
            &seeker->candidates, &scan->rows, values, order, (size_t)k, scan->min_scores[asked]);
    seeker->given_up = !query_prepare(
        &scan->shadow, values, work->queries.codes + place * work->queries.steps,
        work->queries.starts + place, &seeker->query);
    seeker->waiting.most = k / WAITING_OF_K < GROUP_ROWS ? k / WAITING_OF_K : GROUP_ROWS;
    seeker->latest = -INFINITY;
    seeker->bias = INFINITY;
    if (!candidates_begin(
            &seeker->candidates, &scan->rows, values, order, k > 0 ? (size_t)k : 1,
            scan->min_scores[asked], (size_t)rows))
        return false;
    if (!seeker->given_up)
        scan_aim(work, place);
    return true;
}

bool scan_set_out(scan_work *work)
{
    if (!get_memory(work))
        return false;
    plan(work);
    for (size_t i = 0; i < work->scan->count; i++)
        if (!prepare(work, i))
            return false;
    return true;
}

void scan_free(scan_work *work)
{
    if (work->seekers != NULL)
        for (size_t i = 0; i < work->scan->count; i++)
            candidates_free(&work->seekers[i].candidates);
    free(work->seekers);
    free(work->queries.codes);
    free(work->queries.starts);
    free(work->queries.alpha);
    free(work->chosen);
    free(work->order);
    free(work->rows_of);
    free(work->groups_of);
    free(work->words_of);
    free(work->is_alone);
    free(work->is_scored);
}
