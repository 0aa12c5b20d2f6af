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

void take_marginal(const omendb_marginal *marginal, size_t from, size_t to, int64_t *places)
{
    double *redundancy = marginal->redundancy;
    for (size_t step = from; step < to; step++) {
        const int64_t last = step == 0 ? 0 : marginal->slots[places[step - 1]];
        double most = -INFINITY;
        int64_t best = 0;
        for (size_t i = 0; i < marginal->count; i++) {
            double value = marginal->relevance[i];
            if (redundancy[i] == INFINITY)
                continue;
            if (step > 0) {
                redundancy[i] = fmax(redundancy[i], score_of(marginal->rows, marginal->slots[i], last));
                value -= marginal->weight * redundancy[i];
            }
            if (value > most) {
                most = value;
                best = (int64_t)i;
            }
        }
        places[step] = best;
        redundancy[best] = INFINITY;
    }
}
