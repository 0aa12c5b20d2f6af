/* Which kernels there are: those of this build that this processor can run. */
#include "tiles.h"

#include <string.h>

#if defined(__x86_64__)
static bool has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

static bool always(void)
{
    return true;
}

static const struct {
    omendb_kernel kernel;
    bool (*runs)(void);
} kernels[] = {
#if defined(__x86_64__)
    {{"avx512", tile_avx512}, has_avx512},
#endif
    {{"portable", tile_portable}, always},
};

const omendb_kernel *omendb_kernel_at(size_t at)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (kernels[i].runs() && at-- == 0)
            return &kernels[i].kernel;
    return NULL;
}

const omendb_kernel *omendb_kernel_named(const char *name)
{
    const omendb_kernel *kernel;
    for (size_t at = 0; (kernel = omendb_kernel_at(at)) != NULL; at++)
        if (strcmp(kernel->name, name) == 0)
            return kernel;
    return NULL;
}
