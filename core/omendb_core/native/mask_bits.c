/* Bits of a filter's mask, of slots that were written; filters/mask_cache.py. */
#include "buffers.h"

#define WORD_BITS 64

static void set_bits(uint64_t *words, const int64_t *slots, const uint8_t *passed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t bit = (uint64_t)1 << (slots[i] % WORD_BITS);
        uint64_t *word = &words[slots[i] / WORD_BITS];
        *word = passed[i] ? *word | bit : *word & ~bit;
    }
}

/* set_bits(words, slots, passed): the bit of each slot in `words` to `passed`, uint8 of 0 and others. */
PyObject *native_set_bits(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *word_object, *slot_object, *passed_object, *result = NULL;
    taken_arrays taken = {0};
    array words, slots, passed;
    if (!PyArg_ParseTuple(arguments, "OOO", &word_object, &slot_object, &passed_object))
        return NULL;
    if (take_array(&taken, word_object, "words", U64, -1, TO_WRITE, &words) &&
        take_array(&taken, slot_object, "slots", I64, -1, TO_READ, &slots) &&
        take_array(&taken, passed_object, "passed", U8, slots.count, TO_READ, &passed) &&
        are_within(&slots, words.count * WORD_BITS, "slots")) {
        set_bits(words.data, slots.data, passed.data, (size_t)slots.count);
        result = Py_NewRef(Py_None);
    }
    give_back(&taken);
    return result;
}
