/* The method table of omendb_core.native._native; what each does is said where it stands. */
#include "native.h"
#include "rounding.h"

/* What setup.py says of the files that this is compiled of: a word, or nothing. */
#ifndef OMENDB_SOURCES
#define OMENDB_SOURCES
#endif
#define TEXT_OF(word) #word
#define TEXT(word) TEXT_OF(word)

/* sources(): that word; see sources.py. */
static PyObject *native_sources(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyUnicode_FromString(TEXT(OMENDB_SOURCES));
}

static PyMethodDef methods[] = {
    {"sources", native_sources, METH_NOARGS, NULL},
    {"lanes", native_lanes, METH_NOARGS, NULL},
    {"score_pairs", native_score_pairs, METH_VARARGS, NULL},
    {"score_chosen", native_score_chosen, METH_VARARGS, NULL},
    {"log2", native_log2, METH_VARARGS, NULL},
    {"log", native_log, METH_VARARGS, NULL},
    {"exp", native_exp, METH_VARARGS, NULL},
    {"pow", native_pow, METH_VARARGS, NULL},
    {"norms", native_norms, METH_VARARGS, NULL},
    {"first_too_long", native_first_too_long, METH_VARARGS, NULL},
    {"normalise", native_normalise, METH_VARARGS, NULL},
    {"ids_find", native_ids_find, METH_VARARGS, NULL},
    {"ids_enter", native_ids_enter, METH_VARARGS, NULL},
    {"ids_remove", native_ids_remove, METH_VARARGS, NULL},
    {"first_duplicate", native_first_duplicate, METH_VARARGS, NULL},
    {"append", native_append, METH_VARARGS, NULL},
    {"set_bits", native_set_bits, METH_VARARGS, NULL},
    {"kernels", native_kernels, METH_NOARGS, NULL},
    {"dismiss_helpers", native_dismiss_helpers, METH_NOARGS, NULL},
    {"shadow_write", native_shadow_write, METH_VARARGS, NULL},
    {"top_k", native_top_k, METH_VARARGS, NULL},
    {"decay_weights", native_decay_weights, METH_VARARGS, NULL},
    {"score_bounds", native_score_bounds, METH_VARARGS, NULL},
    {"rows_reaching", native_rows_reaching, METH_VARARGS, NULL},
    {"take_apart", native_take_apart, METH_VARARGS, NULL},
    {"take_marginal", native_take_marginal, METH_VARARGS, NULL},
    {"pairs_above", native_pairs_above, METH_VARARGS, NULL},
    {"lists_insert", native_lists_insert, METH_VARARGS, NULL},
    {"lists_publish", native_lists_publish, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* A build that rounds otherwise is not used: importing it fails, and numpy does the work. */
static int refuse_other_bits(PyObject *Py_UNUSED(module))
{
    const omendb_lanes *lanes;
    for (size_t at = 0; (lanes = omendb_lanes_at(at)) != NULL; at++) {
        if (rounds_as_defined(lanes) && functions_round_as_defined(omendb_functions_at(at)))
            continue;
        PyErr_Format(
            PyExc_ImportError,
            "this build of omendb_core.native._native does not round as scores are defined (%s)",
            lanes->name);
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, refuse_other_bits},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
