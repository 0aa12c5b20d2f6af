/* log2, exp, log and pow, defined to the bit (scoring/functions.py says how, and why it is so).
 *
 * All variants give the same bits; tests hold each to the numpy definition in functions.py.
 * Knows nothing of Python.
 */
#ifndef OMENDB_FUNCTIONS_H
#define OMENDB_FUNCTIONS_H

#include <stddef.h>

typedef struct {
    const char *name;
    /* Of count numbers each, which results may overwrite. */
    void (*log2)(const double *x, size_t count, double *results);
    void (*log)(const double *x, size_t count, double *results);
    void (*exp)(const double *x, size_t count, double *results);
    void (*pow)(const double *x, const double *y, size_t count, double *results);
    /* The second of the two numbers whose sum is log2(x), and of those whose sum is the exponent of
     * pow(x, x): results hide how they were rounded, these do not (rounding.c). */
    void (*rests)(const double *x, size_t count, double *log2_rests, double *pow_rests);
} omendb_functions;

/* log2 of x, positive and finite, but for 2**-16 at most: for bounds, in a fifth of the time. */
double rough_log2(double x);

/* By the names of lanes.h, or NULL; `at`: as there. */
const omendb_functions *omendb_functions_named(const char *name);
const omendb_functions *omendb_functions_at(size_t at);

#endif
