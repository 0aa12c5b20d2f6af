/* Arrays that Python owns; see buffers.h. */
#include "buffers.h"

#include <string.h>

/* Some 5 us of arithmetic. Adds of 256 rows of 128 are as large, and let go: with the event loop's
 * thread beside them that is 1.4 to 1.7 times the rows a second (four runs by turns). */
#define FEW_ELEMENTS (1 << 15)

static bool is_of_type(const Py_buffer *view, char type)
{
    const char *format = view->format == NULL ? "B" : view->format;
    const char *kinds = "";
    Py_ssize_t bytes = 8;
    switch (type) {
    case F32: kinds = "f", bytes = 4; break;
    case F64: kinds = "d"; break;
    case I64: kinds = "lq"; break;
    case U64: kinds = "LQ"; break;
    case U32: kinds = "IL", bytes = 4; break;
    case U8: kinds = "B", bytes = 1; break;
    }
    if (*format == '@' || *format == '=' || *format == '<')
        format++;
    return strlen(format) == 1 && strchr(kinds, *format) != NULL && view->itemsize == bytes;
}

static Py_buffer *take(
    taken_arrays *taken, PyObject *object, const char *name, char type, int flags)
{
    if (taken->count == MAX_TAKEN) {
        PyErr_SetString(PyExc_SystemError, "more arrays than a call may take");
        return NULL;
    }
    Py_buffer *view = &taken->views[taken->count];
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT) < 0)
        return NULL;
    taken->count++;
    if (is_of_type(view, type))
        return view;
    PyErr_Format(PyExc_TypeError, "%s: an array of another type", name);
    return NULL;
}

bool take_array(
    taken_arrays *taken, PyObject *object, const char *name, char type, Py_ssize_t count,
    enum access access, array *out)
{
    int flags = PyBUF_C_CONTIGUOUS | (access == TO_WRITE ? PyBUF_WRITABLE : 0);
    const Py_buffer *view = take(taken, object, name, type, flags);
    if (view == NULL)
        return false;
    out->data = view->buf;
    out->count = view->len / view->itemsize;
    if (count < 0 || out->count == count)
        return true;
    PyErr_Format(PyExc_ValueError, "%s: %zd elements, not %zd", name, out->count, count);
    return false;
}

bool take_rows(taken_arrays *taken, PyObject *object, const char *name, row_array *out)
{
    const Py_buffer *view = take(taken, object, name, F32, PyBUF_STRIDES);
    if (view == NULL)
        return false;
    if (view->ndim != 2 || view->strides[0] < 0 || view->strides[0] % 4 != 0
        || (view->strides[1] != 4 && view->shape[1] > 1)) {
        PyErr_Format(PyExc_ValueError, "%s: not rows that are contiguous each", name);
        return false;
    }
    out->data = view->buf;
    out->count = view->shape[0];
    out->dim = view->shape[1];
    out->stride = view->strides[0] / 4;
    return true;
}

bool are_within(const array *numbers, Py_ssize_t below, const char *name)
{
    const int64_t *values = numbers->data;
    for (Py_ssize_t i = 0; i < numbers->count; i++) {
        if (values[i] < 0 || values[i] >= below) {
            PyErr_Format(PyExc_IndexError, "%s: beyond the end", name);
            return false;
        }
    }
    return true;
}

void give_back(taken_arrays *taken)
{
    while (taken->count > 0)
        PyBuffer_Release(&taken->views[--taken->count]);
}

PyThreadState *let_go_for(Py_ssize_t elements)
{
    return elements < FEW_ELEMENTS ? NULL : PyEval_SaveThread();
}

void come_back(PyThreadState *state)
{
    if (state != NULL)
        PyEval_RestoreThread(state);
}

const omendb_lanes *take_lanes(const char *name)
{
    const omendb_lanes *lanes = omendb_lanes_named(name);
    if (lanes == NULL)
        PyErr_Format(PyExc_ValueError, "lanes: this machine has no %s", name);
    return lanes;
}
