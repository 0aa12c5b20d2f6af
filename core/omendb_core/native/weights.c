/* What the ages of rows take off their scores under decay, for Python; ranking/orders.py says what it is. */
#include "buffers.h"
#include "order.h"

#include <float.h>

/* Rows whose weights are made at once. */
#define SOME 64
#define ELEMENTS_OF_ONE 16

static void some_weights(
    const omendb_order *order, double at, const int64_t *slots, size_t count, float *weights)
{
    double bases[SOME], powers[SOME];
    for (size_t i = 0; i < count; i++) {
        bases[i] = 2;
        powers[i] = (time_of(order->times, (size_t)slots[i]) - at) / order->half_life;
    }
    order->times->functions->pow(bases, powers, count, powers);
    for (size_t i = 0; i < count; i++)
        weights[i] = (float)(powers[i] > FLT_MAX ? FLT_MAX : powers[i]);
}

/* Whether there is a time for each of the slots. */
static bool have_times(const array *slots, Py_ssize_t times)
{
    const int64_t *values = slots->data;
    for (Py_ssize_t i = 0; i < slots->count; i++)
        if (values[i] < 0 || values[i] >= times)
            return PyErr_SetString(PyExc_IndexError, "slots: beyond the times"), false;
    return true;
}

/* decay_weights(lanes, integers, numbers, per_second, half_life, at, slots, weights): those of the rows in
 * slots, by times as top_k takes them. */
PyObject *native_decay_weights(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    PyObject *integer_object, *number_object, *slot_object, *weight_object, *result = NULL;
    taken_arrays taken = {0};
    array integers = {0}, numbers = {0}, slots, weights;
    omendb_times times = {0};
    double half_life, at;
    if (!PyArg_ParseTuple(
            arguments, "sOOdddOO", &name, &integer_object, &number_object, &times.per_second,
            &half_life, &at, &slot_object, &weight_object))
        return NULL;
    times.functions = omendb_functions_named(name);
    if (times.functions == NULL)
        return PyErr_Format(PyExc_ValueError, "lanes: this machine has no %s", name);
    if ((integer_object == Py_None) == (number_object == Py_None))
        return PyErr_SetString(PyExc_ValueError, "times: integers or numbers"), NULL;
    if ((integer_object != Py_None &&
         !take_array(&taken, integer_object, "integers", I64, -1, TO_READ, &integers)) ||
        (number_object != Py_None &&
         !take_array(&taken, number_object, "numbers", F64, -1, TO_READ, &numbers)) ||
        !take_array(&taken, slot_object, "slots", I64, -1, TO_READ, &slots) ||
        !take_array(&taken, weight_object, "weights", F32, slots.count, TO_WRITE, &weights) ||
        !have_times(&slots, integers.count + numbers.count))
        goto done;
    times.integers = integers.data;
    times.numbers = numbers.data;
    const int64_t *first = slots.data;
    const omendb_order order = order_of(&times, half_life);
    PyThreadState *state = let_go_for(slots.count * ELEMENTS_OF_ONE);
    for (Py_ssize_t i = 0; i < slots.count; i += SOME) {
        size_t count = slots.count - i < SOME ? (size_t)(slots.count - i) : SOME;
        some_weights(&order, at, first + i, count, (float *)weights.data + i);
    }
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}
