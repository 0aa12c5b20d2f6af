/* Selections for Python: ranking/apart.py and ranking/marginal.py say what they are. */
#include "buffers.h"
#include "selection.h"

#include <math.h>

static bool take_rows_of(
    taken_arrays *taken, const char *lanes, int is_l2, PyObject *object, omendb_rows *rows)
{
    row_array vectors;
    rows->lanes = take_lanes(lanes);
    if (rows->lanes == NULL || !take_rows(taken, object, "vectors", &vectors))
        return false;
    if (vectors.stride != vectors.dim && vectors.count > 1)
        return PyErr_SetString(PyExc_ValueError, "vectors: rows that are apart"), false;
    rows->vectors = vectors.data;
    rows->slots = (size_t)vectors.count;
    rows->dim = (size_t)vectors.dim;
    rows->is_l2 = is_l2;
    return true;
}

/* None, or (groups, counts, size). */
static bool take_groups(
    taken_arrays *taken, PyObject *object, Py_ssize_t rows, omendb_apart *apart)
{
    PyObject *group_object, *count_object;
    long long size;
    array groups, counts;
    if (object == Py_None)
        return true;
    if (!PyArg_ParseTuple(object, "OOL", &group_object, &count_object, &size) ||
        !take_array(taken, group_object, "groups", I64, rows, TO_READ, &groups) ||
        !take_array(taken, count_object, "counts", I64, -1, TO_WRITE, &counts) ||
        !are_within(&groups, counts.count, "groups"))
        return false;
    apart->groups = groups.data;
    apart->counts = counts.data;
    apart->size = size;
    return true;
}

/* take_apart(lanes, is_l2, vectors, slots, groups, limit, taken, held, known, places) -> how many of slots
 * were taken: appended to taken, whose first `held` are there already, and their places to places. */
PyObject *native_take_apart(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *lanes;
    int is_l2;
    PyObject *vectors, *slot_object, *group_object, *taken_object, *place_object, *result = NULL;
    float limit;
    Py_ssize_t held, known;
    taken_arrays taken = {0};
    omendb_rows rows = {0};
    omendb_apart apart = {.rows = &rows};
    array slots, before, places;
    if (!PyArg_ParseTuple(
            arguments, "spOOOfOnnO", &lanes, &is_l2, &vectors, &slot_object, &group_object, &limit,
            &taken_object, &held, &known, &place_object))
        return NULL;
    if (!take_rows_of(&taken, lanes, is_l2, vectors, &rows) ||
        !take_array(&taken, slot_object, "slots", I64, -1, TO_READ, &slots) ||
        !take_array(&taken, taken_object, "taken", I64, -1, TO_WRITE, &before) ||
        !take_array(&taken, place_object, "places", I64, -1, TO_WRITE, &places) ||
        !take_groups(&taken, group_object, slots.count, &apart) ||
        !are_within(&slots, (Py_ssize_t)rows.slots, "slots"))
        goto done;
    if (known < 0 || known > held || held > before.count || places.count < before.count - held) {
        PyErr_SetString(PyExc_ValueError, "held, known, places: more or less than there is room");
        goto done;
    }
    array there = {before.data, held};
    if (!are_within(&there, (Py_ssize_t)rows.slots, "taken"))
        goto done;
    apart.limit = limit;
    apart.taken = before.data;
    apart.held = (size_t)held;
    apart.most = (size_t)before.count;
    apart.known = (size_t)known;
    PyThreadState *state =
        let_go_for(slots.count * (Py_ssize_t)rows.dim * (before.count - known));
    size_t found = take_apart(&apart, slots.data, (size_t)slots.count, places.data);
    come_back(state);
    result = PyLong_FromSize_t(found);
done:
    give_back(&taken);
    return result;
}

/* take_marginal(lanes, is_l2, vectors, slots, relevance, redundancy, compared, weight, start, stop, places): the
 * places among slots of the rows that the steps start … stop - 1 take, to places, where those before stand. */
PyObject *native_take_marginal(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *lanes;
    int is_l2;
    PyObject *vectors, *slot_object, *relevance_object, *redundancy_object, *compared_object;
    PyObject *place_object, *result = NULL;
    double weight;
    Py_ssize_t start, stop;
    taken_arrays taken = {0};
    omendb_rows rows = {0};
    array slots, relevance, redundancy, compared, places;
    if (!PyArg_ParseTuple(
            arguments, "spOOOOOdnnO", &lanes, &is_l2, &vectors, &slot_object, &relevance_object,
            &redundancy_object, &compared_object, &weight, &start, &stop, &place_object))
        return NULL;
    if (!take_rows_of(&taken, lanes, is_l2, vectors, &rows) ||
        !take_array(&taken, slot_object, "slots", I64, -1, TO_READ, &slots) ||
        !take_array(&taken, relevance_object, "relevance", F64, slots.count, TO_READ, &relevance) ||
        !take_array(&taken, redundancy_object, "redundancy", F64, slots.count, TO_WRITE, &redundancy) ||
        !take_array(&taken, compared_object, "compared", I64, slots.count, TO_WRITE, &compared) ||
        !take_array(&taken, place_object, "places", I64, -1, TO_WRITE, &places) ||
        !are_within(&slots, (Py_ssize_t)rows.slots, "slots"))
        goto done;
    if (start < 0 || stop < start || stop > slots.count || stop > places.count) {
        PyErr_SetString(PyExc_ValueError, "start, stop: more steps than there are rows, or places");
        goto done;
    }
    array there = {places.data, start};
    if (!are_within(&there, slots.count, "places") || !are_within(&compared, start + 1, "compared"))
        goto done;
    omendb_marginal marginal = {
        &rows, slots.data, relevance.data, redundancy.data, compared.data, (size_t)slots.count, weight,
    };
    PyThreadState *state = let_go_for((stop - start) * slots.count * (Py_ssize_t)rows.dim);
    take_marginal(&marginal, (size_t)start, (size_t)stop, places.data);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}
