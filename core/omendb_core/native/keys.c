/* The best of many keys; see keys.h. */
#include "keys.h"

#include <stdlib.h>

/* Up to here sorting by insertion is faster than qsort. */
#define FEW 48

static void add(best_keys *best, uint64_t key)
{
    size_t place = best->held++;
    while (place > 0 && best->keys[(place - 1) / 2] > key) {
        best->keys[place] = best->keys[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    best->keys[place] = key;
}

static void replace_least(best_keys *best, uint64_t key)
{
    size_t place = 0, child;
    while ((child = 2 * place + 1) < best->held) {
        child += child + 1 < best->held && best->keys[child + 1] < best->keys[child];
        if (best->keys[child] >= key)
            break;
        best->keys[place] = best->keys[child];
        place = child;
    }
    best->keys[place] = key;
}

bool best_offer(best_keys *best, uint64_t key)
{
    if (best->held < best->most) {
        add(best, key);
        return best->held == best->most;
    }
    if (key <= best->keys[0])
        return false;
    replace_least(best, key);
    return true;
}

static int descending(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left < right) - (left > right);
}

void sort_descending(uint64_t *keys, size_t count)
{
    if (count > FEW) {
        qsort(keys, count, sizeof *keys, descending);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        size_t place = i;
        for (; place > 0 && keys[place - 1] < key; place--)
            keys[place] = keys[place - 1];
        keys[place] = key;
    }
}
