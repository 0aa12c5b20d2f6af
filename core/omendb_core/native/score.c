/* Scores for Python: score.py says what they are, and has the definition in numpy. */
#include "buffers.h"

/* Chosen rows lie anywhere: so many are on their way into the cache while one is scored. */
#define AHEAD 4
#define CACHE_LINE_FLOATS 16

/* lanes() -> names of the variants that this machine has, best first. */
PyObject *native_lanes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    PyObject *names = PyList_New(0);
    const omendb_lanes *lanes;
    for (size_t at = 0; names != NULL && (lanes = omendb_lanes_at(at)) != NULL; at++) {
        PyObject *name = PyUnicode_FromString(lanes->name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

/* score_pairs(lanes, is_l2, rows, queries, scores): scores[i] of rows[i] and queries[i]. */
PyObject *native_score_pairs(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    int is_l2;
    PyObject *row_object, *query_object, *score_object, *result = NULL;
    taken_arrays taken = {0};
    row_array rows, queries;
    array scores;
    if (!PyArg_ParseTuple(
            arguments, "spOOO", &name, &is_l2, &row_object, &query_object, &score_object))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_rows(&taken, row_object, "rows", &rows)
        || !take_rows(&taken, query_object, "queries", &queries)
        || !take_array(&taken, score_object, "scores", F32, rows.count, TO_WRITE, &scores))
        goto done;
    if (queries.count != rows.count || queries.dim != rows.dim) {
        PyErr_SetString(PyExc_ValueError, "queries: of another shape than rows");
        goto done;
    }
    float *out = scores.data;
    PyThreadState *state = let_go_for(rows.count * rows.dim);
    for (Py_ssize_t i = 0; i < rows.count; i++)
        out[i] = lanes->score(
            is_l2, rows.data + i * rows.stride, queries.data + i * queries.stride,
            (size_t)rows.dim);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

static void fetch(const float *row, Py_ssize_t dim)
{
    for (Py_ssize_t at = 0; at < dim; at += CACHE_LINE_FLOATS)
        __builtin_prefetch(row + at);
}

/* score_chosen(lanes, is_l2, rows, which_rows, queries, which_queries, scores): scores[i] of
 * rows[which_rows[i]] and queries[which_queries[i]], where they lie. */
PyObject *native_score_chosen(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    int is_l2;
    PyObject *row_object, *slot_object, *query_object, *asker_object, *score_object;
    PyObject *result = NULL;
    taken_arrays taken = {0};
    row_array rows, queries;
    array slots, askers, scores;
    if (!PyArg_ParseTuple(
            arguments, "spOOOOO", &name, &is_l2, &row_object, &slot_object, &query_object,
            &asker_object, &score_object))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_rows(&taken, row_object, "rows", &rows)
        || !take_array(&taken, slot_object, "which_rows", I64, -1, TO_READ, &slots)
        || !take_rows(&taken, query_object, "queries", &queries)
        || !take_array(&taken, asker_object, "which_queries", I64, slots.count, TO_READ, &askers)
        || !take_array(&taken, score_object, "scores", F32, slots.count, TO_WRITE, &scores)
        || !are_within(&slots, rows.count, "which_rows")
        || !are_within(&askers, queries.count, "which_queries"))
        goto done;
    if (queries.dim != rows.dim) {
        PyErr_SetString(PyExc_ValueError, "queries: of another shape than rows");
        goto done;
    }
    const int64_t *slot = slots.data, *asker = askers.data;
    float *out = scores.data;
    PyThreadState *state = let_go_for(slots.count * rows.dim);
    for (Py_ssize_t i = 0; i < slots.count; i++) {
        if (i + AHEAD < slots.count)
            fetch(rows.data + slot[i + AHEAD] * rows.stride, rows.dim);
        out[i] = lanes->score(
            is_l2, rows.data + slot[i] * rows.stride, queries.data + asker[i] * queries.stride,
            (size_t)rows.dim);
    }
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}
