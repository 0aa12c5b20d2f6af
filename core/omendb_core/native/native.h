/* The Python side of the extension: the functions of omendb_core._native, by the file they are in.
 *
 * What it does numpy does as well, with the same results to the bit; no Python code may need it. It
 * gets memory through the buffer protocol, checks sizes and types before it touches any of it, lets
 * go of the interpreter while it works, and keeps no state: all lies in arrays that Python owns.
 * Files that compute (shadow, tiles, lanes, ids) know nothing of Python and do not include this.
 */
#ifndef OMENDB_NATIVE_H
#define OMENDB_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* score.c: scores of rows. */
PyObject *native_lanes(PyObject *module, PyObject *arguments);
PyObject *native_score_pairs(PyObject *module, PyObject *arguments);
PyObject *native_score_chosen(PyObject *module, PyObject *arguments);

/* apply.c: log2, log, exp, pow. */
PyObject *native_log2(PyObject *module, PyObject *arguments);
PyObject *native_log(PyObject *module, PyObject *arguments);
PyObject *native_exp(PyObject *module, PyObject *arguments);
PyObject *native_pow(PyObject *module, PyObject *arguments);

/* prepare.c: norms; rows checked and normalised. */
PyObject *native_norms(PyObject *module, PyObject *arguments);
PyObject *native_first_too_long(PyObject *module, PyObject *arguments);
PyObject *native_normalise(PyObject *module, PyObject *arguments);

/* ids.c: tables of u64 ids. */
PyObject *native_ids_find(PyObject *module, PyObject *arguments);
PyObject *native_ids_enter(PyObject *module, PyObject *arguments);
PyObject *native_ids_remove(PyObject *module, PyObject *arguments);
PyObject *native_first_duplicate(PyObject *module, PyObject *arguments);

/* append.c: one add. */
PyObject *native_append(PyObject *module, PyObject *arguments);

/* mask_bits.c */
PyObject *native_set_bits(PyObject *module, PyObject *arguments);

/* search.c: the shadow written, and scanned. */
PyObject *native_kernels(PyObject *module, PyObject *arguments);
PyObject *native_dismiss_helpers(PyObject *module, PyObject *arguments);
PyObject *native_shadow_write(PyObject *module, PyObject *arguments);
PyObject *native_top_k(PyObject *module, PyObject *arguments);
PyObject *native_score_bounds(PyObject *module, PyObject *arguments);
PyObject *native_rows_reaching(PyObject *module, PyObject *arguments);

/* weights.c: what ages take off. */
PyObject *native_decay_weights(PyObject *module, PyObject *arguments);

/* selecting.c: which rows of an order are taken. */
PyObject *native_take_apart(PyObject *module, PyObject *arguments);
PyObject *native_take_marginal(PyObject *module, PyObject *arguments);

/* pairs.c: new rows against standing queries. */
PyObject *native_pairs_above(PyObject *module, PyObject *arguments);

/* lists.c: lists of keys. */
PyObject *native_lists_insert(PyObject *module, PyObject *arguments);
PyObject *native_lists_publish(PyObject *module, PyObject *arguments);

#endif
