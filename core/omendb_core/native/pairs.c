/* New rows against standing queries, for Python: arrays in, bytes of arrays out. */
#include "match.h"
#include "shadow_arrays.h"

#include <stdlib.h>

/* (rows, queries, scores, crowded): int64, int64, float32 and int64, as bytes. */
static PyObject *as_bytes(const omendb_match *match)
{
    size_t count = match->pair_count, crowded = 0;
    for (size_t i = 0; i < match->query_count; i++)
        crowded += match->is_crowded[i];
    Py_ssize_t wide = (Py_ssize_t)(count * sizeof(int64_t));
    PyObject *rows = PyBytes_FromStringAndSize(NULL, wide);
    PyObject *queries = PyBytes_FromStringAndSize(NULL, wide);
    PyObject *scores = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(float)));
    PyObject *full = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(crowded * sizeof(int64_t)));
    if (rows == NULL || queries == NULL || scores == NULL || full == NULL) {
        Py_XDECREF(rows);
        Py_XDECREF(queries);
        Py_XDECREF(scores);
        Py_XDECREF(full);
        return NULL;
    }
    int64_t *row = (int64_t *)PyBytes_AsString(rows), *query = (int64_t *)PyBytes_AsString(queries);
    float *score = (float *)PyBytes_AsString(scores);
    for (size_t i = 0; i < count; i++) {
        row[i] = match->pairs[i].row;
        query[i] = match->pairs[i].query;
        score[i] = match->pairs[i].score;
    }
    int64_t *next = (int64_t *)PyBytes_AsString(full);
    for (size_t i = 0; i < match->query_count; i++)
        if (match->is_crowded[i])
            *next++ = (int64_t)i;
    return Py_BuildValue("(NNNN)", rows, queries, scores, full);
}

/* Queries, floors, most and rows, of the shadow that is there. */
static bool take_sides(
    taken_arrays *taken, PyObject *const *objects, Py_ssize_t slots, omendb_match *match)
{
    row_array queries, rows;
    array floors, most;
    if (!take_rows(taken, objects[0], "queries", &queries) ||
        !take_array(taken, objects[1], "floors", F32, queries.count, TO_READ, &floors) ||
        !take_array(taken, objects[2], "most", I64, queries.count, TO_READ, &most) ||
        !take_rows(taken, objects[3], "rows", &rows))
        return false;
    Py_ssize_t dim = (Py_ssize_t)match->shadow.dim;
    if (queries.dim != dim || rows.dim != dim || queries.count > slots || rows.count >= UINT32_MAX ||
        (queries.stride != dim && queries.count > 1) || (rows.stride != dim && rows.count > 1)) {
        PyErr_SetString(PyExc_ValueError, "queries, rows: not of this shadow");
        return false;
    }
    match->queries = queries.data;
    match->query_count = (size_t)queries.count;
    match->floors = floors.data;
    match->most = most.data;
    match->rows = rows.data;
    match->row_count = (size_t)rows.count;
    return true;
}

/* pairs_above(kernel, lanes, shadow, queries, floors, most, rows) -> see as_bytes.
 *
 * shadow: (codes, factors, centre, metric, slots) of the queries. */
PyObject *native_pairs_above(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *kernel, *lanes;
    PyObject *codes, *factors, *centre, *objects[4], *result = NULL;
    Py_ssize_t slots;
    int metric;
    taken_arrays taken = {0};
    omendb_match match = {0};
    if (!PyArg_ParseTuple(
            arguments, "ss(OOOin)OOOO", &kernel, &lanes, &codes, &factors, &centre, &metric, &slots,
            &objects[0], &objects[1], &objects[2], &objects[3]))
        return NULL;
    match.kernel = omendb_kernel_named(kernel);
    if (match.kernel == NULL)
        return PyErr_Format(PyExc_ValueError, "kernel: this machine has no %s", kernel);
    match.lanes = take_lanes(lanes);
    if (match.lanes == NULL)
        return NULL;
    if (!take_shadow(&taken, codes, factors, centre, slots, metric, TO_READ, &match.shadow) ||
        !take_sides(&taken, objects, slots, &match))
        goto done;
    match.is_crowded = calloc(match.query_count + 1, sizeof *match.is_crowded);
    bool fine = match.is_crowded != NULL;
    if (fine) {
        PyThreadState *state = let_go_for((Py_ssize_t)(match.query_count * match.row_count));
        fine = omendb_pairs_above(&match);
        come_back(state);
    }
    result = fine ? as_bytes(&match) : PyErr_NoMemory();
    free(match.pairs);
    free(match.is_crowded);
done:
    give_back(&taken);
    return result;
}
