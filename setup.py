"""What pyproject.toml cannot say: the optional C extension ``omendb_core.native._native``.

Without a compiler the package installs without it, and everything runs in numpy; with
``OMENDB_REQUIRE_NATIVE=1`` in the environment a failed compile is an error. The stable ABI makes
one binary serve every Python from 3.11 on.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

NATIVE = "core/omendb_core/native"
#: One concern a file; module.c is the method table of all.
SOURCES = [
    *("module.c", "buffers.c", "cpu.c", "lanes.c", "rounding.c", "score.c", "prepare.c"),
    *("functions.c", "apply.c"),
    *("id_table.c", "ids.c", "rows.c", "append.c", "mask_bits.c"),
    *("shadow.c", "bounds.c", "keys.c", "order.c", "candidates.c"),
    *(
        "scan.c",
        "scan_setup.c",
        "scan_tiles.c",
        "scan_offers.c",
        "scan_sweep.c",
        "scan_scored.c",
        "helpers.c",
        "score_bounds.c",
        "search.c",
        "weights.c",
    ),
    *("selection.c", "selecting.c"),
    *("match.c", "pairs.c", "lists.c"),
    *("tiles.c", "tile_portable.c", "tile_avx512.c", "tile_avx2.c", "tile_neon.c"),
]
#: A score is defined to the bit, and a fused multiply-add rounds once less. These come behind what
#: CFLAGS says; native/rounding.h stops a build in which they did not hold.
EXACT = ["-fno-fast-math", "-ffp-contract=off"]
FLAGS = [
    *("-std=c11", "-O3", *EXACT, "-fno-math-errno", "-fvisibility=hidden", "-pthread"),
    *("-Wall", "-Wextra"),
]
#: Compilers, as setuptools calls them, that take those flags: gcc and clang, on Windows too.
EXACT_COMPILERS = ("unix", "mingw32", "cygwin")
#: What setuptools takes by itself there is none of them; gcc's own library is not there.
IS_WINDOWS = sys.platform == "win32"
LINK = ["-pthread", *(["-static-libgcc"] if IS_WINDOWS else [])]
COMPILER = {"build_ext": {"compiler": "mingw32"}} if IS_WINDOWS and shutil.which("gcc") else {}
#: Windows' headers before Python 3.13 know 64 bits by Microsoft's compiler alone.
MACROS = [
    ("Py_LIMITED_API", "0x030B0000"),
    # By this the package knows an extension that is not of the sources beside it.
    ("OMENDB_SOURCES", runpy.run_path(f"{NATIVE}/sources.py")["digest"](Path(NATIVE))),
    *([("MS_WIN64", "1")] if IS_WINDOWS else []),
]


class BuildNative(build_ext):
    """Compiles only where the bits are promised; replaces an old build harmlessly."""

    def build_extension(self, ext: Extension) -> None:
        """Compile with flags that this compiler keeps its promise by. CompileError without any."""
        if self.compiler.compiler_type not in EXACT_COMPILERS:
            raise CompileError(
                f"the compiler {self.compiler.compiler_type} is not known to round as scores are "
                "defined; build with gcc or clang"
            )
        ext.extra_compile_args = FLAGS
        super().build_extension(ext)

    def get_libraries(self, ext: Extension) -> list[str]:
        """Windows: the library of the stable ABI. With gcc setuptools would name one version's."""
        return [*ext.libraries, "python3"] if IS_WINDOWS else super().get_libraries(ext)

    def copy_extensions_to_source(self) -> None:
        """Rename what was built into the source tree: whoever has the old one loaded keeps it."""
        build_py = self.get_finalized_command("build_py")
        for extension in self.extensions:
            inplace, built = self._get_inplace_equivalent(build_py, extension)
            if os.path.exists(built) or not extension.optional:
                shutil.copy(built, f"{inplace}.new")
                os.replace(f"{inplace}.new", inplace)


setup(
    ext_modules=[
        Extension(
            "omendb_core.native._native",
            sources=[f"{NATIVE}/{name}" for name in SOURCES],
            depends=sorted(str(path) for path in Path(NATIVE).glob("*.h")),
            define_macros=MACROS,
            py_limited_api=True,
            extra_link_args=LINK,
            optional=os.environ.get("OMENDB_REQUIRE_NATIVE", "0") in ("", "0"),
        )
    ],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}, **COMPILER},
)
