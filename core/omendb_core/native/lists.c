/* Lists of keys in the rows of a matrix, for Python; standing/lists.py says what they are.
 *
 * A key is one uint64, or a complex number that sorts by its real part, then by its imaginary one;
 * no part is NaN. A row is sorted ascending, with its empty places in front. */
#include "buffers.h"

#include <math.h>
#include <string.h>

typedef struct {
    double rank, rest;
} ordered_key;

typedef struct {
    void *keys;
    bool is_ordered;
    Py_ssize_t width, lists;
} key_lists;

/* (keys, width): keys uint64, or float64 with two for each, width of them to a list. */
static bool take_lists(
    taken_arrays *taken, PyObject *object, int is_ordered, Py_ssize_t width, enum access access,
    key_lists *lists)
{
    array keys;
    Py_ssize_t each = is_ordered ? 2 * width : width;
    if (!take_array(taken, object, "keys", is_ordered ? F64 : U64, -1, access, &keys))
        return false;
    if (width < 1 || keys.count % each != 0)
        return PyErr_SetString(PyExc_ValueError, "keys: not lists of that width"), false;
    lists->keys = keys.data;
    lists->is_ordered = is_ordered;
    lists->width = width;
    lists->lists = keys.count / each;
    return true;
}

static bool is_less(const ordered_key *one, const ordered_key *other)
{
    return one->rank < other->rank || (one->rank == other->rank && one->rest < other->rest);
}

/* Put key among the count keys that stand in the last places of a list of that width. */
static void insert_plain(uint64_t *list, Py_ssize_t width, Py_ssize_t count, uint64_t key)
{
    Py_ssize_t low = width - count, high = width;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (list[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    Py_ssize_t first = width - count, less = low - first;
    memmove(list + first - 1, list + first, (size_t)less * sizeof *list);
    list[first - 1 + less] = key;
}

static void insert_ordered(
    ordered_key *list, Py_ssize_t width, Py_ssize_t count, const ordered_key *key)
{
    Py_ssize_t low = width - count, high = width;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (is_less(&list[middle], key))
            low = middle + 1;
        else
            high = middle;
    }
    Py_ssize_t first = width - count, less = low - first;
    memmove(list + first - 1, list + first, (size_t)less * sizeof *list);
    list[first - 1 + less] = *key;
}

/* Put new keys start … stop - 1 into a list that has room for them; count it. */
static void insert_all(
    const key_lists *lists, int64_t row, const void *coming, Py_ssize_t start, Py_ssize_t stop,
    int64_t *count)
{
    for (Py_ssize_t i = start; i < stop; i++, ++*count) {
        if (lists->is_ordered)
            insert_ordered(
                (ordered_key *)lists->keys + row * lists->width, lists->width, *count,
                (const ordered_key *)coming + i);
        else
            insert_plain(
                (uint64_t *)lists->keys + row * lists->width, lists->width, *count,
                ((const uint64_t *)coming)[i]);
    }
}

static void note_oldest(
    uint64_t *oldest, const uint64_t *offsets, Py_ssize_t start, Py_ssize_t stop)
{
    for (Py_ssize_t i = start; i < stop; i++)
        *oldest = offsets[i] < *oldest ? offsets[i] : *oldest;
}

/* lists_insert(keys, is_ordered, width, rows, coming, offsets, counts, oldest, full) -> how many of full
 * int64 (n,) were written: rows whose list has no room for all that come, which stay as they were.
 *
 * rows int64 (n,), ascending; coming (n,), as keys; counts int64 and oldest uint64, of every list. */
PyObject *native_lists_insert(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *objects[7], *result = NULL;
    int is_ordered;
    Py_ssize_t width, written = 0;
    taken_arrays taken = {0};
    key_lists lists;
    array rows, coming, offsets, counts, oldest, full;
    if (!PyArg_ParseTuple(
            arguments, "OpnOOOOOO", &objects[0], &is_ordered, &width, &objects[1], &objects[2],
            &objects[3], &objects[4], &objects[5], &objects[6]))
        return NULL;
    if (!take_lists(&taken, objects[0], is_ordered, width, TO_WRITE, &lists) ||
        !take_array(&taken, objects[1], "rows", I64, -1, TO_READ, &rows) ||
        !take_array(
            &taken, objects[2], "coming", is_ordered ? F64 : U64,
            is_ordered ? 2 * rows.count : rows.count, TO_READ, &coming) ||
        !take_array(&taken, objects[3], "offsets", U64, rows.count, TO_READ, &offsets) ||
        !take_array(&taken, objects[4], "counts", I64, lists.lists, TO_WRITE, &counts) ||
        !take_array(&taken, objects[5], "oldest", U64, lists.lists, TO_WRITE, &oldest) ||
        !take_array(&taken, objects[6], "full", I64, rows.count, TO_WRITE, &full) ||
        !are_within(&rows, lists.lists, "rows") || !are_within(&counts, width + 1, "counts"))
        goto done;
    const int64_t *row = rows.data;
    int64_t *count = counts.data;
    for (Py_ssize_t start = 0, stop; start < rows.count; start = stop) {
        for (stop = start + 1; stop < rows.count && row[stop] == row[start];)
            stop++;
        int64_t own = row[start];
        if (count[own] + (stop - start) > width) {
            ((int64_t *)full.data)[written++] = own;
            continue;
        }
        insert_all(&lists, own, coming.data, start, stop, &count[own]);
        note_oldest((uint64_t *)oldest.data + own, offsets.data, start, stop);
    }
    result = PyLong_FromSsize_t(written);
done:
    give_back(&taken);
    return result;
}

/* The best k of a list become what it answers, as the last of most_k; whether that was another. */
static bool answer_plain(const uint64_t *best, uint64_t *answer, Py_ssize_t most_k, int64_t k)
{
    bool is_changed = false;
    for (Py_ssize_t i = 0; i < most_k; i++) {
        uint64_t key = i < most_k - k ? 0 : best[i];
        is_changed |= answer[i] != key;
        answer[i] = key;
    }
    return is_changed;
}

static bool answer_ordered(
    const ordered_key *best, ordered_key *answer, Py_ssize_t most_k, int64_t k)
{
    const ordered_key no_row = {-INFINITY, 0.0};
    bool is_changed = false;
    for (Py_ssize_t i = 0; i < most_k; i++) {
        ordered_key key = i < most_k - k ? no_row : best[i];
        is_changed |= answer[i].rank != key.rank || answer[i].rest != key.rest;
        answer[i] = key;
    }
    return is_changed;
}

/* lists_publish(keys, is_ordered, width, rows, k, published, most_k, changed): the best k[i] of the list
 * rows[i] are what it answers; changed uint8 (n,) says whether it answered something else.
 *
 * published: lists of most_k, as many as of keys. */
PyObject *native_lists_publish(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *objects[5], *result = NULL;
    int is_ordered;
    Py_ssize_t width, most_k;
    taken_arrays taken = {0};
    key_lists lists, published;
    array rows, k, changed;
    if (!PyArg_ParseTuple(
            arguments, "OpnOOOnO", &objects[0], &is_ordered, &width, &objects[1], &objects[2],
            &objects[3], &most_k, &objects[4]))
        return NULL;
    if (!take_lists(&taken, objects[0], is_ordered, width, TO_READ, &lists) ||
        !take_lists(&taken, objects[3], is_ordered, most_k, TO_WRITE, &published) ||
        !take_array(&taken, objects[1], "rows", I64, -1, TO_READ, &rows) ||
        !take_array(&taken, objects[2], "k", I64, rows.count, TO_READ, &k) ||
        !take_array(&taken, objects[4], "changed", U8, rows.count, TO_WRITE, &changed) ||
        !are_within(&rows, lists.lists, "rows") || !are_within(&k, most_k + 1, "k"))
        goto done;
    if (most_k > width || published.lists != lists.lists) {
        PyErr_SetString(PyExc_ValueError, "published: not of these lists");
        goto done;
    }
    for (Py_ssize_t i = 0; i < rows.count; i++) {
        int64_t row = ((const int64_t *)rows.data)[i], own_k = ((const int64_t *)k.data)[i];
        Py_ssize_t from = row * width + width - most_k, to = row * most_k;
        ((uint8_t *)changed.data)[i] =
            is_ordered ? answer_ordered(
                             (const ordered_key *)lists.keys + from,
                             (ordered_key *)published.keys + to, most_k, own_k)
                       : answer_plain(
                             (const uint64_t *)lists.keys + from, (uint64_t *)published.keys + to,
                             most_k, own_k);
    }
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}
