/* The method table of omendb_core._native; what each does is said where it stands. */
#include "native.h"

static PyMethodDef methods[] = {
    {"features", native_features, METH_NOARGS, NULL},
    {"lanes", native_lanes, METH_NOARGS, NULL},
    {"score_pairs", native_score_pairs, METH_VARARGS, NULL},
    {"score_chosen", native_score_chosen, METH_VARARGS, NULL},
    {"norms", native_norms, METH_VARARGS, NULL},
    {"first_too_long", native_first_too_long, METH_VARARGS, NULL},
    {"normalise", native_normalise, METH_VARARGS, NULL},
    {"ids_find", native_ids_find, METH_VARARGS, NULL},
    {"ids_enter", native_ids_enter, METH_VARARGS, NULL},
    {"ids_remove", native_ids_remove, METH_VARARGS, NULL},
    {"first_duplicate", native_first_duplicate, METH_VARARGS, NULL},
    {"append", native_append, METH_VARARGS, NULL},
    {"kernels", native_kernels, METH_NOARGS, NULL},
    {"shadow_write", native_shadow_write, METH_VARARGS, NULL},
    {"top_k", native_top_k, METH_VARARGS, NULL},
    {"pairs_above", native_pairs_above, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
