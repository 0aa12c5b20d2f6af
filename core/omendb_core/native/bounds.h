/* What the shadow can tell of scores: which rows to leave out, and between what a score lies. */
#ifndef OMENDB_BOUNDS_H
#define OMENDB_BOUNDS_H

#include "tiles.h"

/* One query beside its codes; see bounds.c for what the names stand for. */
typedef struct {
    omendb_metric metric;
    double scale;   /* t, above 0 */
    double length;  /* at least |q|, or |w| */
    double error;   /* at least |f| */
    double codes;   /* at least |p| */
    double square;  /* |t p|², rounded */
    double offset;  /* c.q, rounded; dot only */
    double lost;    /* what may be lost in offset, and in a decided score for the centre's sake; dot only */
} omendb_query;

typedef struct {
    float lower, upper;
} omendb_interval;

/* Quantise a query float32 [dim], as a scan got it: its codes [steps], and the rest. False if its
 * magnitude is beyond what the shadow can take. */
bool query_prepare(
    const omendb_shadow *shadow, const float *values, int32_t *codes, int32_t *start,
    omendb_query *query);

/* Set what the tiles leave rows out by: those that surely score less than threshold. */
void query_aim(const omendb_query *query, float threshold, float *alpha, float *beta, float *theta);

/* The same for who reads shadow->coarse: which of its factors stands in the place of [2] is returned. */
int query_aim_coarse(
    const omendb_query *query, float threshold, float *alpha, float *beta, float *theta);

/* The same with roles swapped (match.c): what a new row is asked by, whatever the floors; and the
 * factors of a group of standing queries, with their floors in them, for rows of this length at most. */
void row_aim(const omendb_query *row, float *alpha, float *beta, float *theta);
void floors_aim(
    omendb_metric metric, const float *factors, const float *floors, double longest, float *aimed);

/* What the score of a row lies between, by its factors and D. */
omendb_interval query_interval(
    const omendb_query *query, float scale, float one, float two, int32_t dot);

/* The same for a group of rows: its factors and D, GROUP_ROWS of each. */
void query_intervals(
    const omendb_query *query, const float *factors, const int32_t *dots, float *lower,
    float *upper);

#endif
