"""The extension as others may build it: under sanitizers, and by compilers that round otherwise."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools
from omendb_core import native
from omendb_core.native.sources import digest
from setuptools.errors import CompileError

from tests.core.compiling import (
    EXACT,
    NATIVE,
    SANITIZERS,
    compiled,
    has_compiler,
    has_sanitizers,
    package_with,
)
from tests.core.variants import VARIANTS
from tests.project.pages import ROOT

#: Those that call the extension; the state machines of whole windows take minutes like this.
SUITES = [
    *("native/test_native", "rows/test_append", "rows/test_ids", "rows/test_shadow"),
    *("scan/test_bounds", "scan/test_matching", "scan/test_scan"),
    *(
        "scan/test_decayed",
        "scan/test_score_bounds",
        "scan/test_rows_reaching",
        "scan/test_shared_query",
    ),
    *(
        "scoring/test_score",
        "scoring/test_functions",
        "search/test_searches_together",
        "standing/test_memory",
    ),
]
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no compiler with Python's headers")


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python whose ``omendb_core`` is the one in ``folder``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=800,
    )


@pytest.mark.timeout(900)  # 40 seconds where nothing else runs
def test_the_extension_touches_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    if not has_sanitizers(tmp_path):
        pytest.skip("no compiler with sanitizers")
    built = package_with([*SANITIZERS, *EXACT], tmp_path)
    assert built.returncode == 0, built.stderr
    libraries = [
        compiled(["cc", f"-print-file-name={name}"]).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # Python itself leaves memory behind when it ends.
    sanitized = {"LD_PRELOAD": ":".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}
    loaded = "from omendb_core import native; print(native.compiled.__file__)"
    assert python(tmp_path, "-c", loaded, **sanitized).stdout.startswith(str(tmp_path))
    suites = [f"tests/core/{name}.py" for name in SUITES]
    # What numpy does is no business of the sanitizers'.
    chosen = ["-q", "-x", "-p", "no:cacheprovider", "-p", "tests.core.native.compiled_only"]
    done = python(tmp_path, "-m", "pytest", *chosen, *suites, **sanitized)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


@needs_compiler
@pytest.mark.skipif("avx2" not in VARIANTS, reason="nothing here that multiplies and adds at once")
@pytest.mark.parametrize("flag", ["-ffp-contract=fast", "-funsafe-math-optimizations"])
def test_a_build_that_rounds_otherwise_is_not_used(tmp_path: Path, flag: str) -> None:
    built = package_with(["-O3", flag], tmp_path)
    assert built.returncode == 0, built.stderr
    refused = python(tmp_path, "-c", "from omendb_core.native import _native")
    assert "does not round as scores are defined" in refused.stderr
    used = python(tmp_path, "-c", "from omendb_core import native; print(native.is_used)")
    assert used.stdout == "False\n"


TELLS = """
#include "rounding.h"
#include <stdio.h>
int main(void)
{
    const omendb_functions *functions;
    for (size_t at = 0; (functions = omendb_functions_at(at)) != NULL; at++)
        printf("%s=%d ", functions->name, functions_round_as_defined(functions));
}
"""


@needs_compiler
@pytest.mark.skipif("avx2" not in VARIANTS, reason="nothing here that multiplies and adds at once")
def test_functions_whose_steps_are_fused_are_told_from_those_defined(tmp_path: Path) -> None:
    (tmp_path / "tells.c").write_text(TELLS)
    sources = [str(NATIVE / name) for name in ("functions.c", "rounding.c", "cpu.c")]

    def told(*flags: str) -> dict[str, str]:
        program = str(tmp_path / "tells")
        files = [str(tmp_path / "tells.c"), *sources, f"-I{NATIVE}", "-lm", "-o", program]
        built = compiled(["cc", "-std=c11", "-O3", *flags, *files])
        assert built.returncode == 0, built.stderr
        output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        return dict(pair.split("=") for pair in output.split())

    assert set(told(*EXACT).values()) == {"1"}
    assert told("-ffp-contract=fast")["avx2"] == "0"
    assert told("-ffp-contract=off", "-funsafe-math-optimizations")["portable"] == "0"


@needs_compiler
def test_a_build_with_fast_arithmetic_is_not_made(tmp_path: Path) -> None:
    built = package_with(["-O1", "-ffast-math"], tmp_path)
    assert built.returncode != 0
    assert "defined to the bit" in built.stderr


@needs_compiler
def test_a_build_of_other_sources_than_these_is_not_used_and_that_is_said(tmp_path: Path) -> None:
    """A checkout that was updated and not installed again."""
    built = package_with(["-O1", *EXACT, f"-DOMENDB_SOURCES={digest(NATIVE)}"], tmp_path)
    assert built.returncode == 0, built.stderr
    ask = ("-W", "default", "-c", "from omendb_core import native; print(native.is_used)")
    used = python(tmp_path, *ask)
    assert (used.stdout, used.stderr) == ("True\n", "")
    with (tmp_path / "omendb_core/native/module.c").open("a") as source:
        source.write("/* newer */")
    stale = python(tmp_path, *ask)
    assert stale.stdout == "False\n"
    assert f"Install again: {sys.executable} -m pip install" in stale.stderr
    for source in (tmp_path / "omendb_core/native").glob("*.[ch]"):
        source.unlink()  # as in a wheel, where nothing can be newer
    assert python(tmp_path, *ask).stdout == "True\n"


def test_the_installed_extension_says_what_it_is_compiled_of() -> None:
    [extension] = setup()["ext_modules"]
    assert dict(extension.define_macros)["OMENDB_SOURCES"] == digest(NATIVE)
    assert not native.is_there or native.compiled.sources() == digest(NATIVE)


def setup() -> dict[str, Any]:
    """What setup.py tells setuptools."""
    told: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(setuptools, "setup", lambda **arguments: told.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    return told


def test_exact_flags_come_behind_those_of_the_environment() -> None:
    told = setup()
    [extension] = told["ext_modules"]
    command = told["cmdclass"]["build_ext"](setuptools.Distribution())
    command.compiler = SimpleNamespace(compiler_type="msvc")
    with pytest.raises(CompileError, match="msvc"):
        command.build_extension(extension)
    built: list[str] = []
    command.compiler = SimpleNamespace(compiler_type="unix")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "setuptools.command.build_ext.build_ext.build_extension",
            lambda _, extension: built.extend(extension.extra_compile_args),
        )
        command.build_extension(extension)
    assert set(EXACT) <= set(built)
