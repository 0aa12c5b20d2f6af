/* Functions of arrays for Python: scoring/functions.py says what they are, and has them in numpy. */
#include "buffers.h"
#include "functions.h"

/* Some 2 ns of arithmetic each, where an element of buffers.c has 0.15: counted so often. */
#define ELEMENTS_OF_ONE 16

static const omendb_functions *take_functions(const char *name)
{
    const omendb_functions *functions = omendb_functions_named(name);
    if (functions == NULL)
        PyErr_Format(PyExc_ValueError, "lanes: this machine has no %s", name);
    return functions;
}

typedef void (*function_of_one)(const double *, size_t, double *);

enum function { LOG2, LOG, EXP };

static function_of_one chosen(const omendb_functions *functions, enum function which)
{
    switch (which) {
    case LOG2: return functions->log2;
    case LOG: return functions->log;
    default: return functions->exp;
    }
}

static PyObject *apply(PyObject *arguments, enum function which)
{
    const char *name;
    PyObject *x_object, *result_object, *result = NULL;
    taken_arrays taken = {0};
    array x, results;
    if (!PyArg_ParseTuple(arguments, "sOO", &name, &x_object, &result_object))
        return NULL;
    const omendb_functions *functions = take_functions(name);
    if (functions == NULL || !take_array(&taken, x_object, "x", F64, -1, TO_READ, &x)
        || !take_array(&taken, result_object, "results", F64, x.count, TO_WRITE, &results))
        goto done;
    PyThreadState *state = let_go_for(x.count * ELEMENTS_OF_ONE);
    chosen(functions, which)(x.data, (size_t)x.count, results.data);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

/* log2(lanes, x, results), each float64. */
PyObject *native_log2(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return apply(arguments, LOG2);
}

/* log(lanes, x, results), likewise. */
PyObject *native_log(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return apply(arguments, LOG);
}

/* exp(lanes, x, results), likewise. */
PyObject *native_exp(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return apply(arguments, EXP);
}

/* pow(lanes, x, y, results): x[i] to the power of y[i]. */
PyObject *native_pow(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *x_object, *y_object, *result_object, *result = NULL;
    taken_arrays taken = {0};
    array x, y, results;
    if (!PyArg_ParseTuple(arguments, "sOOO", &name, &x_object, &y_object, &result_object))
        return NULL;
    const omendb_functions *functions = take_functions(name);
    if (functions == NULL || !take_array(&taken, x_object, "x", F64, -1, TO_READ, &x)
        || !take_array(&taken, y_object, "y", F64, x.count, TO_READ, &y)
        || !take_array(&taken, result_object, "results", F64, x.count, TO_WRITE, &results))
        goto done;
    PyThreadState *state = let_go_for(x.count * ELEMENTS_OF_ONE);
    functions->pow(x.data, y.data, (size_t)x.count, results.data);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}
