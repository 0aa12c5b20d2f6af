/* Which kernels there are: those of this build that this processor can run. */
#include "tiles.h"

#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static bool has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#elif defined(__aarch64__)
static bool has_dot_products(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true; /* every Apple processor that runs macOS has them */
#endif
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
    {{"avx2", tile_avx2}, has_avx2},
#elif defined(__aarch64__)
    {{"neon", tile_neon}, has_dot_products},
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
