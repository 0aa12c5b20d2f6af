/* Arrays that Python owns, taken by the buffer protocol and checked before any of it is touched. */
#ifndef OMENDB_BUFFERS_H
#define OMENDB_BUFFERS_H

#include "lanes.h"
#include "native.h"

#define MAX_TAKEN 20

/* What a call has taken so far; begin with {0}, end with give_back. */
typedef struct {
    int count;
    Py_buffer views[MAX_TAKEN];
} taken_arrays;

/* Types of elements. */
enum { F32 = 'f', F64 = 'd', I64 = 'i', U64 = 'u', U32 = 'w', U8 = 'b' };

/* An array of elements of one type, C-contiguous. */
typedef struct {
    void *data;
    Py_ssize_t count;
} array;

/* Rows of float32 (count, dim), each contiguous, stride floats apart (0: all are the same row). */
typedef struct {
    const float *data;
    Py_ssize_t count, dim, stride;
} row_array;

enum access { TO_READ, TO_WRITE };

/* Take object as an array of count elements (< 0: any number) of a type.
 * False, with an exception that begins with name, if it is another or cannot be written to. */
bool take_array(
    taken_arrays *taken, PyObject *object, const char *name, char type, Py_ssize_t count,
    enum access access, array *out);

/* Take object as rows; likewise. */
bool take_rows(taken_arrays *taken, PyObject *object, const char *name, row_array *out);

/* Whether all of numbers, an int64 array, lie within 0 … below - 1; if not, IndexError. */
bool are_within(const array *numbers, Py_ssize_t below, const char *name);

void give_back(taken_arrays *taken);

/* Let go of the interpreter for work on so many elements, unless they are few: then NULL, as coming
 * back costs more, most of all while another thread holds on to it. */
PyThreadState *let_go_for(Py_ssize_t elements);
void come_back(PyThreadState *state);

/* The arithmetic of that name; NULL with ValueError if there is none here. */
const omendb_lanes *take_lanes(const char *name);

#endif
