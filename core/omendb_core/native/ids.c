/* u64 ids for Python; see u64_ids.py, and id_table.h for how. */
#include "id_arrays.h"

#include <stdlib.h>
#include <string.h>

bool take_table(taken_arrays *taken, PyObject *arrays, id_table *table)
{
    PyObject *key_object, *place_object, *salt_object;
    array keys, places, salts;
    if (!PyArg_ParseTuple(arrays, "OOO", &key_object, &place_object, &salt_object)
        || !take_array(taken, key_object, "keys", U64, -1, TO_WRITE, &keys)
        || !take_array(taken, place_object, "places", U32, -1, TO_WRITE, &places)
        || !take_array(taken, salt_object, "salts", U64, SALTS, TO_READ, &salts))
        return false;
    /* With fewer places than that, looking for an absent id would never end. */
    if (places.count <= keys.count || (uint64_t)places.count > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "places: not more than keys, or too many");
        return false;
    }
    table->keys = keys.data;
    table->capacity = (size_t)keys.count;
    table->places = places.data;
    table->size = (size_t)places.count;
    memcpy(table->salts, salts.data, sizeof table->salts);
    return true;
}

/* Whether all of slots lie in the table's window. */
static bool are_slots(const array *slots, const id_table *table)
{
    const int64_t *values = slots->data;
    for (Py_ssize_t i = 0; i < slots->count; i++) {
        if (values[i] < 0 || (size_t)values[i] >= table->capacity) {
            PyErr_SetString(PyExc_IndexError, "slots: beyond the window");
            return false;
        }
    }
    return true;
}

/* ids_find(table, ids, slots): slots[i] = the slot of the live row with ids[i], or -1. */
PyObject *native_ids_find(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *table_arrays, *id_object, *slot_object, *result = NULL;
    taken_arrays taken = {0};
    id_table table;
    array ids, slots;
    if (!PyArg_ParseTuple(
            arguments, "O!OO", &PyTuple_Type, &table_arrays, &id_object, &slot_object))
        return NULL;
    if (!take_table(&taken, table_arrays, &table)
        || !take_array(&taken, id_object, "ids", U64, -1, TO_READ, &ids)
        || !take_array(&taken, slot_object, "slots", I64, ids.count, TO_WRITE, &slots))
        goto done;
    id_table_find(&table, ids.data, (size_t)ids.count, slots.data);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

/* ids_enter(table, ids, slots, replaced) -> how many of replaced int64 (n,) were written. */
PyObject *native_ids_enter(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *table_arrays, *id_object, *slot_object, *replaced_object, *result = NULL;
    taken_arrays taken = {0};
    id_table table;
    array ids, slots, replaced;
    if (!PyArg_ParseTuple(
            arguments, "O!OOO", &PyTuple_Type, &table_arrays, &id_object, &slot_object,
            &replaced_object))
        return NULL;
    if (!take_table(&taken, table_arrays, &table)
        || !take_array(&taken, id_object, "ids", U64, -1, TO_READ, &ids)
        || !take_array(&taken, slot_object, "slots", I64, ids.count, TO_READ, &slots)
        || !take_array(&taken, replaced_object, "replaced", I64, ids.count, TO_WRITE, &replaced)
        || !are_slots(&slots, &table))
        goto done;
    size_t found =
        id_table_enter(&table, ids.data, slots.data, (size_t)ids.count, replaced.data);
    result = PyLong_FromSize_t(found);
done:
    give_back(&taken);
    return result;
}

/* ids_remove(table, slots): the rows of slots die. */
PyObject *native_ids_remove(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *table_arrays, *slot_object, *result = NULL;
    taken_arrays taken = {0};
    id_table table;
    array slots;
    if (!PyArg_ParseTuple(arguments, "O!O", &PyTuple_Type, &table_arrays, &slot_object))
        return NULL;
    if (!take_table(&taken, table_arrays, &table)
        || !take_array(&taken, slot_object, "slots", I64, -1, TO_READ, &slots)
        || !are_slots(&slots, &table))
        goto done;
    id_table_remove(&table, slots.data, (size_t)slots.count);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

/* first_duplicate(ids, salts) -> the first of ids that was there before, or -1. */
PyObject *native_first_duplicate(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *id_object, *salt_object, *result = NULL;
    taken_arrays taken = {0};
    array ids, salts;
    uint32_t *scratch = NULL;
    if (!PyArg_ParseTuple(arguments, "OO", &id_object, &salt_object))
        return NULL;
    if (!take_array(&taken, id_object, "ids", U64, -1, TO_READ, &ids)
        || !take_array(&taken, salt_object, "salts", U64, SALTS, TO_READ, &salts))
        goto done;
    size_t size = 2 * (size_t)ids.count + 1;
    if (size > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "ids: too many");
        goto done;
    }
    scratch = calloc(size, sizeof *scratch);
    if (scratch == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    size_t found = first_duplicate(ids.data, (size_t)ids.count, salts.data, scratch, size);
    result = PyLong_FromSsize_t(found < (size_t)ids.count ? (Py_ssize_t)found : -1);
done:
    free(scratch);
    give_back(&taken);
    return result;
}
