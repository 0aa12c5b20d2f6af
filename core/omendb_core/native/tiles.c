/* Which kernels there are: those of this build that this processor can run. */
#include "tiles.h"

#include "cpu.h"

#include <string.h>

static const struct {
    omendb_kernel kernel;
    bool (*runs)(void);
} kernels[] = {
#if defined(__x86_64__)
    {{"avx512", tile_avx512, sweep_avx512}, cpu_has_avx512_vnni},
    {{"avx2", tile_avx2, sweep_avx2}, cpu_has_avx2},
#elif defined(__aarch64__)
    {{"neon", tile_neon, sweep_neon}, cpu_has_neon_dot_products},
#endif
    {{"portable", tile_portable, sweep_portable}, cpu_has_what_it_was_built_for},
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
