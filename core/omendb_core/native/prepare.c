/* Norms, and what is stored of a row: checked, and under cosine normalised. See score.py. */
#include "buffers.h"

#include <math.h>
#include <string.h>

/* norms(lanes, rows, lengths): lengths[i], float64, of rows[i]. */
PyObject *native_norms(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *row_object, *length_object, *result = NULL;
    taken_arrays taken = {0};
    row_array rows;
    array lengths;
    if (!PyArg_ParseTuple(arguments, "sOO", &name, &row_object, &length_object))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_rows(&taken, row_object, "rows", &rows)
        || !take_array(&taken, length_object, "lengths", F64, rows.count, TO_WRITE, &lengths))
        goto done;
    double *out = lengths.data;
    PyThreadState *state = let_go_for(rows.count * rows.dim);
    for (Py_ssize_t i = 0; i < rows.count; i++)
        out[i] = lanes->norm(rows.data + i * rows.stride, (size_t)rows.dim);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

/* The first row whose norm is above most (NaN is, too); rows->count if there is none. */
static Py_ssize_t check(const omendb_lanes *lanes, const row_array *rows, double most)
{
    /* Without an element beyond this no norm is above most, and need not be computed. */
    const size_t dim = (size_t)rows->dim;
    const float harmless = (float)(most / 2 / sqrt((double)rows->dim + 1));
    int32_t harmless_bits;
    memcpy(&harmless_bits, &harmless, sizeof harmless_bits);
    Py_ssize_t row = 0;
    for (; row < rows->count; row++) {
        const float *x = rows->data + row * rows->stride;
        if (lanes->largest(x, dim) > harmless_bits && !(lanes->norm(x, dim) <= most))
            break;
    }
    return row;
}

/* first_too_long(lanes, rows, most): the first row whose norm is above most (NaN is, too), or -1. */
PyObject *native_first_too_long(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *row_object, *result = NULL;
    double most;
    taken_arrays taken = {0};
    row_array rows;
    if (!PyArg_ParseTuple(arguments, "sOd", &name, &row_object, &most))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_rows(&taken, row_object, "rows", &rows))
        goto done;
    Py_ssize_t row;
    PyThreadState *state = let_go_for(rows.count * rows.dim);
    row = check(lanes, &rows, most);
    come_back(state);
    result = PyLong_FromSsize_t(row < rows.count ? row : -1);
done:
    give_back(&taken);
    return result;
}

/* Rows, each divided by its norm, to out, up to the first whose norm is not within least … most
 * (NaN is not), which is returned; rows->count if there is none. */
static Py_ssize_t normalise(
    const omendb_lanes *lanes, const row_array *rows, double least, double most, float *out)
{
    const size_t dim = (size_t)rows->dim;
    Py_ssize_t row = 0;
    for (; row < rows->count; row++) {
        const float *x = rows->data + row * rows->stride;
        double length = lanes->norm(x, dim);
        if (!(length <= most && length >= least))
            break;
        lanes->divide(x, length, dim, out + row * rows->dim);
    }
    return row;
}

/* normalise(lanes, rows, least, most, out): rows divided by their norms, float32 of the same shape,
 * to out. Returns the first row whose norm is not within least … most (NaN is not), or -1. */
PyObject *native_normalise(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *row_object, *out_object, *result = NULL;
    double least, most;
    taken_arrays taken = {0};
    row_array rows;
    array out;
    if (!PyArg_ParseTuple(arguments, "sOddO", &name, &row_object, &least, &most, &out_object))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_rows(&taken, row_object, "rows", &rows)
        || !take_array(&taken, out_object, "out", F32, rows.count * rows.dim, TO_WRITE, &out))
        goto done;
    Py_ssize_t row;
    PyThreadState *state = let_go_for(rows.count * rows.dim);
    row = normalise(lanes, &rows, least, most, out.data);
    come_back(state);
    result = PyLong_FromSsize_t(row < rows.count ? row : -1);
done:
    give_back(&taken);
    return result;
}
