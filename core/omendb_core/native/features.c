/* What this processor can do: asked once at run time, so that one binary runs everywhere. */
#include "native.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static int append_if(PyObject *names, bool there, const char *name)
{
    if (!there)
        return 0;
    PyObject *text = PyUnicode_FromString(name);
    int failed = text == NULL || PyList_Append(names, text);
    Py_XDECREF(text);
    return failed;
}

/* features() -> list of names, of those that a kernel here can use. */
PyObject *native_features(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    PyObject *names = PyList_New(0);
    if (names == NULL)
        return NULL;
    int failed = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    failed |= append_if(names, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), "avx2");
    failed |= append_if(names, avx512 && __builtin_cpu_supports("avx512vnni"), "avx512vnni");
#elif defined(__aarch64__) && defined(__linux__)
    failed |= append_if(names, (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0, "asimddp");
#elif defined(__aarch64__) && defined(__APPLE__)
    failed |= append_if(names, true, "asimddp"); /* every Apple processor that runs macOS has it */
#endif
    if (failed) {
        Py_DECREF(names);
        return NULL;
    }
    return names;
}
