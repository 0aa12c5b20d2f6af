/* functions.h for each instruction set: functions_body.h compiled once for each, and the choice. */
#include "functions.h"

#include "bits.h"
#include "cpu.h"
#include "function_tables.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* See functions.py for each. */
#define MANTISSA_BITS 52
#define LEAST_NORMAL_BITS ((int64_t)1 << MANTISSA_BITS)
/* The bits of 1, less those of the first mantissa of the table, 181 / 256. */
#define TO_FIRST ((uint64_t)150 << 44)
#define ENTRY_SHIFT 44
#define LOWER_32 ((int64_t)0xffffffff)
#define LOWER_27 ((int64_t)0x7ffffff)
#define ROUNDING 0x1.8p52
#define ROUNDING_BITS ((uint64_t)0x4338000000000000)
#define EXP_SHIFT 7
#define BIAS 2048
#define MOST_EXPONENT 720.0
#define LEAST_EXPONENT -760.0
/* The one NaN that results have. */
#define NAN_BITS ((int64_t)0x7ff8000000000000)

/* A number of more than 53 bits. */
typedef struct {
    double upper, lower;
} sum_of_two;

/* x with these bits cleared. */
ALWAYS_INLINE double without(double x, int64_t lower_bits)
{
    return of_bits(bits_of(x) & ~lower_bits);
}

/* A whole number below 2**51 as float64, in steps that every processor has for vectors. */
ALWAYS_INLINE double whole(int64_t number)
{
    return of_bits((int64_t)((uint64_t)number + ROUNDING_BITS)) - ROUNDING;
}

/* Without what is of second order in r: r² / 2 / ln 2 is below 2**-16.4, as |r| <= 2**-8. */
double rough_log2(double x)
{
    const uint64_t bits = (uint64_t)bits_of(x), moved = bits + TO_FIRST;
    const int64_t binade = (int64_t)(moved >> MANTISSA_BITS) - 1023;
    const size_t entry = moved >> ENTRY_SHIFT & (LOG_ENTRIES - 1);
    const double m = of_bits((int64_t)(bits - ((uint64_t)binade << MANTISSA_BITS)));
    return whole(binade) + (log_upper[entry] + (m * log_inverse[entry] - 1)) * INVERSE_LN2;
}

/* SSE2, NEON, or whatever the compiler takes for granted. */
#define TARGET
#define NAME(what) what##_portable
#define NAME_TEXT "portable"
#include "functions_body.h"
#undef TARGET
#undef NAME
#undef NAME_TEXT

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma")))
#define NAME(what) what##_avx2
#define NAME_TEXT "avx2"
#include "functions_body.h"
#undef TARGET
#undef NAME
#undef NAME_TEXT

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")))
#define NAME(what) what##_avx512
#define NAME_TEXT "avx512"
#include "functions_body.h"
#undef TARGET
#undef NAME
#undef NAME_TEXT

#endif

static const struct {
    const omendb_functions *functions;
    bool (*runs)(void);
} all[] = {
#if defined(__x86_64__)
    {&functions_avx512, cpu_has_avx512},
    {&functions_avx2, cpu_has_avx2},
#endif
    {&functions_portable, cpu_has_what_it_was_built_for},
};

const omendb_functions *omendb_functions_at(size_t at)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].runs() && at-- == 0)
            return all[i].functions;
    return NULL;
}

const omendb_functions *omendb_functions_named(const char *name)
{
    const omendb_functions *functions;
    for (size_t at = 0; (functions = omendb_functions_at(at)) != NULL; at++)
        if (strcmp(functions->name, name) == 0)
            return functions;
    return NULL;
}
