/* What this processor can do, asked at run time, so that one binary runs everywhere.
 *
 * Nothing else asks: a kernel, an arithmetic or a way of writing the shadow is chosen by these alone.
 * Each is true only if the build has the instructions' code too. Knows nothing of Python.
 */
#ifndef OMENDB_CPU_H
#define OMENDB_CPU_H

#include <stdbool.h>

/* 256-bit integers and floats, and multiply-add. */
bool cpu_has_avx2(void);
/* The 512-bit instructions of every server processor since 2017: F, BW, VL and DQ. */
bool cpu_has_avx512(void);
/* Those, and dot products of bytes. */
bool cpu_has_avx512_vnni(void);
/* Arm's dot products of bytes. */
bool cpu_has_neon_dot_products(void);
/* True: what the compiler takes for granted everywhere. */
bool cpu_has_what_it_was_built_for(void);

#endif
