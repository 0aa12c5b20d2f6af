/* Which rows of an order are taken, by the scores that they have with those taken already
 * (PROTOCOL section 5); ranking/apart.py and ranking/marginal.py say the same in numpy.
 */
#ifndef OMENDB_SELECTION_H
#define OMENDB_SELECTION_H

#include "rows_of.h"

/* Rows that are apart: none scores `limit` with one that was taken before it. */
typedef struct {
    const omendb_rows *rows;
    float limit;
    const int64_t *groups; /* [count] of each row that is looked at; NULL: there are none */
    int64_t *counts;       /* [groups] how many of each were taken, */
    int64_t size;          /* at most this */
    int64_t *taken;        /* [most] slots; */
    size_t held, most;
    size_t known; /* of so many taken all rows that are looked at are known to be far */
} omendb_apart;

/* Take of the rows in slots [count], in order, those that are apart, until `most` are held. Writes
 * their places among these to places [most - held]; how many. */
size_t take_apart(omendb_apart *apart, const int64_t *slots, size_t count, int64_t *places);

/* Maximal marginal relevance: rows taken one by one, each the first of those with the largest
 * relevance less weight times the largest score that it has with one taken before it. */
typedef struct {
    const omendb_rows *rows;
    const int64_t *slots;    /* [count] */
    const double *relevance; /* [count] */
    double *redundancy;      /* [count], -inf before the first step; +inf once it is taken */
    int64_t *compared;       /* [count] with how many of those taken that is; 0 before the first step */
    size_t count;
    double weight;
} omendb_marginal;

/* Steps from ... to - 1, at most count of them in all: the places of the rows taken, to places [to]. */
void take_marginal(const omendb_marginal *marginal, size_t from, size_t to, int64_t *places);

#endif
