/* lanes.h for each instruction set: lanes_body.h compiled once for each, and the choice. */
#include "lanes.h"

#include <math.h>
#include <string.h>

#define LANES 8
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* SSE2, NEON, or whatever the compiler takes for granted. */
#define WIDTH 2
#define TARGET
#define NAME(what) what##_portable
#include "lanes_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

static const omendb_lanes portable = {
    "portable", score_portable, norm_portable, divide_portable, largest_portable,
};

#if defined(__x86_64__)

#define WIDTH 4
#define TARGET __attribute__((target("avx2")))
#define NAME(what) what##_avx2
#include "lanes_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

#define WIDTH 8
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define NAME(what) what##_avx512
#include "lanes_body.h"
#undef WIDTH
#undef TARGET
#undef NAME

static const omendb_lanes avx2 = {
    "avx2", score_avx2, norm_avx2, divide_avx2, largest_avx2,
};
static const omendb_lanes avx512 = {
    "avx512", score_avx512, norm_avx512, divide_avx512, largest_avx512,
};

const omendb_lanes *omendb_lanes_named(const char *name)
{
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &avx512;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2"))
        return &avx2;
    return strcmp(name, "portable") == 0 ? &portable : NULL;
}

#else

const omendb_lanes *omendb_lanes_named(const char *name)
{
    return strcmp(name, "portable") == 0 ? &portable : NULL;
}

#endif

const omendb_lanes *omendb_best_lanes(void)
{
    const omendb_lanes *found = omendb_lanes_named("avx512");
    if (found == NULL)
        found = omendb_lanes_named("avx2");
    return found != NULL ? found : &portable;
}
