/* The best of many keys; see keys.h. */
#include "keys.h"

#include <stdlib.h>

/* Up to here sorting by insertion is faster than qsort. */
#define FEW 48

static void add(best_keys *best, row_key key)
{
    size_t place = best->held++;
    while (place > 0 && is_better(best->keys[(place - 1) / 2], key)) {
        best->keys[place] = best->keys[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    best->keys[place] = key;
}

static void replace_least(best_keys *best, row_key key)
{
    size_t place = 0, child;
    while ((child = 2 * place + 1) < best->held) {
        child += child + 1 < best->held && is_better(best->keys[child], best->keys[child + 1]);
        if (!is_better(key, best->keys[child]))
            break;
        best->keys[place] = best->keys[child];
        place = child;
    }
    best->keys[place] = key;
}

bool best_offer(best_keys *best, row_key key)
{
    if (best->held < best->most) {
        add(best, key);
        return best->held == best->most;
    }
    if (!is_better(key, best->keys[0]))
        return false;
    replace_least(best, key);
    return true;
}

static int best_first(const void *a, const void *b)
{
    row_key left = *(const row_key *)a, right = *(const row_key *)b;
    return is_better(right, left) - is_better(left, right);
}

void sort_keys(row_key *keys, size_t count)
{
    if (count > FEW) {
        qsort(keys, count, sizeof *keys, best_first);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        row_key key = keys[i];
        size_t place = i;
        for (; place > 0 && is_better(key, keys[place - 1]); place--)
            keys[place] = keys[place - 1];
        keys[place] = key;
    }
}
