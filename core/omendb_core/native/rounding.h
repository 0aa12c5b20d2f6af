/* Whether this build's arithmetic gives the bits that PROTOCOL sections 3 and 5 define.
 *
 * A compiler may fuse, reassociate or divide by multiplying where its flags let it, and no macro
 * tells of most of that. So the arithmetic is tried, in a few microseconds, before it is used; what a
 * macro does tell ends the build. Knows nothing of Python.
 */
#ifndef OMENDB_ROUNDING_H
#define OMENDB_ROUNDING_H

#include "functions.h"
#include "lanes.h"

#include <float.h>
#include <stdbool.h>

#if defined(__FAST_MATH__)
#error "scores are defined to the bit: build without -ffast-math"
#endif
#if FLT_EVAL_METHOD != 0
#error "scores are defined to the bit: float64 operations must round to float64 (-mfpmath=sse)"
#endif

/* Whether lanes give the same bits as the plain order of section 3, on rows that tell. */
bool rounds_as_defined(const omendb_lanes *lanes);
/* Whether functions take every step as functions.py does. */
bool functions_round_as_defined(const omendb_functions *functions);

#endif
