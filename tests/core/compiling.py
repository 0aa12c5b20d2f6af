"""Builds of the extension and its sources that tests make beside the installed one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tests.project.pages import ROOT

PACKAGE = ROOT / "core" / "omendb_core"
NATIVE = PACKAGE / "native"
#: As in setup.py, without those that optimise.
EXACT = ["-fno-fast-math", "-ffp-contract=off"]
FLAGS = ["-std=c11", "-fno-math-errno", "-Wall", "-Wextra"]
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def sources_without_python() -> list[str]:
    """The files that know nothing of Python."""
    python_side = re.compile(r'#include "(native|buffers|\w+_arrays)\.h"')
    return [
        str(path) for path in sorted(NATIVE.glob("*.c")) if not python_side.search(path.read_text())
    ]


def compiled(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What the compiler said."""
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def package_with(flags: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A copy of ``omendb_core`` in ``folder``, its extension built with ``flags``."""
    there = folder / "omendb_core"
    shutil.copytree(PACKAGE, there, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return compiled(
        [
            *("cc", "-shared", "-fPIC", "-pthread", *FLAGS, *flags, "-DPy_LIMITED_API=0x030B0000"),
            *(f"-I{sysconfig.get_path('include')}", *map(str, sorted(NATIVE.glob("*.c")))),
            *("-o", str(there / "native" / "_native.abi3.so")),
        ]
    )


def has_compiler() -> bool:
    """Whether there is a compiler, and Python's headers for it."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which("cc") is not None and header.is_file()


def has_sanitizers(folder: Path) -> bool:
    """Whether there is a compiler, with the libraries that sanitizers take."""
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    command = ["cc", *SANITIZERS, str(folder / "empty.c"), "-o", str(folder / "empty")]
    return has_compiler() and compiled(command).returncode == 0
