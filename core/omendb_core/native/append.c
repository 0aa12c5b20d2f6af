/* One add in one call: what it overwrites and replaces leaves, its rows come. See append.py. */
#include "id_arrays.h"
#include "rows.h"
#include "shadow_arrays.h"

typedef struct {
    ring_rows ring;
    omendb_shadow shadow;
    row_array rows;
    array ids; /* no data: the rows have none in a table */
    id_table table;
    size_t first;
    int64_t time;
    int64_t *slots, *evicted, *replaced; /* [rows.count] each */
    size_t evicted_count, replaced_count;
} addition;

static void append(addition *add, const omendb_lanes *lanes)
{
    const size_t count = (size_t)add->rows.count;
    add->evicted_count = rows_evict(&add->ring, add->first, count, add->evicted);
    if (add->ids.data != NULL) {
        for (size_t i = 0; i < count; i++)
            add->slots[i] = (int64_t)((add->first + i) % add->ring.capacity);
        id_table_remove(&add->table, add->evicted, add->evicted_count);
        add->replaced_count =
            id_table_enter(&add->table, add->ids.data, add->slots, count, add->replaced);
        rows_kill(&add->ring, add->replaced, add->replaced_count);
    }
    rows_write(&add->ring, lanes, add->first, add->rows.data, count, add->time);
}

/* The arrays of a ring: (vectors, norms, live_words, times). */
static bool take_ring(taken_arrays *taken, PyObject *arrays, ring_rows *ring)
{
    PyObject *vectors, *norms, *live, *times;
    if (!PyArg_ParseTuple(arrays, "OOOO", &vectors, &norms, &live, &times))
        return false;
    array all, lengths, words, stamps;
    if (!take_array(taken, vectors, "vectors", F32, -1, TO_WRITE, &all)
        || !take_array(taken, norms, "norms", F32, -1, TO_WRITE, &lengths)
        || !take_array(taken, times, "times", I64, lengths.count, TO_WRITE, &stamps)
        || !take_array(
            taken, live, "live_words", U64, (lengths.count + 63) / 64, TO_WRITE, &words))
        return false;
    if (lengths.count == 0 || all.count % lengths.count != 0) {
        PyErr_SetString(PyExc_ValueError, "vectors: not as many rows as norms");
        return false;
    }
    *ring = (ring_rows){
        .vectors = all.data,
        .norms = lengths.data,
        .live = words.data,
        .times = stamps.data,
        .capacity = (size_t)lengths.count,
        .dim = (size_t)(all.count / lengths.count),
    };
    return true;
}

/* (codes, factors, nibbles, centre, metric) or None. */
static bool take_ring_shadow(taken_arrays *taken, PyObject *arrays, addition *add)
{
    PyObject *codes, *factors, *nibbles, *centre;
    int metric;
    if (arrays == Py_None)
        return true;
    if (!PyArg_ParseTuple(arrays, "OOOOi", &codes, &factors, &nibbles, &centre, &metric)
        || !take_shadow(
            taken, codes, factors, centre, (Py_ssize_t)add->ring.capacity, metric, TO_WRITE,
            &add->shadow)
        || !take_nibbles(taken, nibbles, TO_WRITE, &add->shadow))
        return false;
    if (add->shadow.dim != add->ring.dim) {
        PyErr_SetString(PyExc_ValueError, "centre: of other dimensions than the ring");
        return false;
    }
    add->ring.shadow = &add->shadow;
    return true;
}

/* Rows that fit the ring from slot `first` on, and the table with their ids, where there is one. */
static bool take_addition(
    taken_arrays *taken, PyObject *row_object, PyObject *table_arrays, PyObject *id_object,
    Py_ssize_t first, addition *add)
{
    if (!take_rows(taken, row_object, "rows", &add->rows))
        return false;
    if ((size_t)add->rows.dim != add->ring.dim || (size_t)add->rows.count > add->ring.capacity
        || (add->rows.stride != add->rows.dim && add->rows.count > 1)
        || first < 0 || (size_t)first >= add->ring.capacity) {
        PyErr_SetString(PyExc_ValueError, "rows: do not fit the ring");
        return false;
    }
    add->first = (size_t)first;
    if (table_arrays == Py_None)
        return true;
    if (!take_table(taken, table_arrays, &add->table)
        || !take_array(taken, id_object, "ids", U64, add->rows.count, TO_READ, &add->ids))
        return false;
    if (add->table.capacity != add->ring.capacity) {
        PyErr_SetString(PyExc_ValueError, "table: of another capacity than the ring");
        return false;
    }
    return true;
}

/* append(lanes, ring, shadow, table, first, time, rows, ids)
 *     -> (evicted, replaced), bytes of int64 slots.
 *
 * ring: (vectors, norms, live_words, times); shadow: (codes, factors, nibbles, centre, metric) or
 * None;
 * table: (keys, places, salts) and ids uint64 (n,), or None and None; first: the slot of the first
 * of rows. */
PyObject *native_append(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *ring_arrays, *shadow_arrays, *table_arrays, *row_object, *id_object;
    PyObject *result = NULL;
    Py_ssize_t first;
    long long time;
    addition add = {0};
    taken_arrays taken = {0};
    if (!PyArg_ParseTuple(
            arguments, "sO!OOnLOO", &name, &PyTuple_Type, &ring_arrays, &shadow_arrays,
            &table_arrays, &first, &time, &row_object, &id_object))
        return NULL;
    const omendb_lanes *lanes = take_lanes(name);
    if (lanes == NULL || !take_ring(&taken, ring_arrays, &add.ring)
        || !take_ring_shadow(&taken, shadow_arrays, &add)
        || !take_addition(&taken, row_object, table_arrays, id_object, first, &add))
        goto done;
    add.time = time;
    add.slots = PyMem_Malloc(3 * (size_t)add.rows.count * sizeof *add.slots);
    if (add.slots == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    add.evicted = add.slots + add.rows.count;
    add.replaced = add.evicted + add.rows.count;
    PyThreadState *state = let_go_for(add.rows.count * add.rows.dim);
    append(&add, lanes);
    come_back(state);
    result = Py_BuildValue(
        "(y#y#)", (char *)add.evicted, (Py_ssize_t)(add.evicted_count * sizeof *add.evicted),
        (char *)add.replaced, (Py_ssize_t)(add.replaced_count * sizeof *add.replaced));
done:
    PyMem_Free(add.slots);
    give_back(&taken);
    return result;
}
