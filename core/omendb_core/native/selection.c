/* Rows taken by the scores that they have with each other; see selection.h. */
#include "selection.h"

#include <math.h>

static float score_of(const omendb_rows *rows, int64_t one, int64_t other)
{
    const float *vector = rows->vectors + (size_t)one * rows->dim;
    return rows->lanes->score(
        rows->is_l2, vector, rows->vectors + (size_t)other * rows->dim, rows->dim);
}

static bool is_apart(const omendb_apart *apart, int64_t slot)
{
    for (size_t i = apart->known; i < apart->held; i++)
        if (score_of(apart->rows, slot, apart->taken[i]) >= apart->limit)
            return false;
    return true;
}

size_t take_apart(omendb_apart *apart, const int64_t *slots, size_t count, int64_t *places)
{
    size_t found = 0;
    for (size_t i = 0; i < count && apart->held < apart->most; i++) {
        if (apart->groups != NULL && apart->counts[apart->groups[i]] >= apart->size)
            continue;
        if (!is_apart(apart, slots[i]))
            continue;
        if (apart->groups != NULL)
            apart->counts[apart->groups[i]]++;
        apart->taken[apart->held++] = slots[i];
        places[found++] = (int64_t)i;
    }
    return found;
}

/* Compare a row with those taken that it was not compared with, until it is known to be no better than
 * `most`: its redundancy only grows, and rounding keeps order. Its value, or something no less that is
 * not above `most` either. */
static double value_of(
    const omendb_marginal *marginal, size_t row, size_t step, const int64_t *places, double most)
{
    const double relevance = marginal->relevance[row];
    double *redundancy = &marginal->redundancy[row];
    for (int64_t *compared = &marginal->compared[row]; *compared < (int64_t)step; (*compared)++) {
        if (*compared > 0 && !(relevance - marginal->weight * *redundancy > most))
            break;
        const int64_t taken = marginal->slots[places[*compared]];
        *redundancy = fmax(*redundancy, score_of(marginal->rows, marginal->slots[row], taken));
    }
    return step == 0 ? relevance : relevance - marginal->weight * *redundancy;
}

void take_marginal(const omendb_marginal *marginal, size_t from, size_t to, int64_t *places)
{
    for (size_t step = from; step < to; step++) {
        double most = -INFINITY;
        int64_t best = 0;
        for (size_t i = 0; i < marginal->count; i++) {
            if (marginal->redundancy[i] == INFINITY)
                continue;
            double value = value_of(marginal, i, step, places, most);
            if (value > most) {
                most = value;
                best = (int64_t)i;
            }
        }
        places[step] = best;
        marginal->redundancy[best] = INFINITY;
    }
}
