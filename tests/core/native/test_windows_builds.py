"""The extension for Windows, by gcc from here: that it compiles, and what it wants to be there.

With ``WINDOWS_BUILD=1``, where the compiler is (``apt install gcc-mingw-w64-x86-64-posix``).
Nothing here can run it; the release's workflow does.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools

from tests.core.compiling import EXACT, FLAGS, NATIVE
from tests.project.pages import ROOT

GCC = "x86_64-w64-mingw32-gcc-posix"
#: What Python's own ``pyconfig.h`` says on Windows, as far as the stable ABI looks.
CONFIGURATION = """
#define MS_WINDOWS
#define MS_WIN32
#define NT_THREADS
#define Py_ENABLE_SHARED 1
#define HAVE_DECLSPEC_DLL
#define SIZEOF_VOID_P 8
#define SIZEOF_TIME_T 8
#define SIZEOF_OFF_T 4
#define SIZEOF_SIZE_T 8
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_PID_T 4
#include <io.h>
"""
WITH_WINDOWS = {"python3.dll", "kernel32.dll", "msvcrt.dll"}


def set_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``setup.py`` gives to setuptools on Windows with gcc."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(shutil, "which", lambda name: f"C:/{name}.exe")
    monkeypatch.chdir(ROOT)
    given |= runpy.run_path(str(ROOT / "setup.py"))
    return given


def test_windows_takes_gcc_and_the_library_of_the_stable_abi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = set_up(monkeypatch)
    assert given["options"]["build_ext"] == {"compiler": "mingw32"}
    (extension,) = given["ext_modules"]
    assert ("MS_WIN64", "1") in extension.define_macros
    assert "-static-libgcc" in extension.extra_link_args
    build = given["BuildNative"]
    assert build.get_libraries(SimpleNamespace(), extension) == ["python3"]


def ran(*command: str | Path, folder: Path) -> str:
    result = subprocess.run(
        [str(one) for one in command], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    return result.stdout


@pytest.mark.skipif("WINDOWS_BUILD" not in os.environ, reason="WINDOWS_BUILD is not set")
@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not there")
def test_it_compiles_for_windows_and_wants_nothing_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        (extension,) = set_up(there)["ext_modules"]
    headers = tmp_path / "headers"
    shutil.copytree(sysconfig.get_path("include"), headers)
    (headers / "pyconfig.h").write_text(CONFIGURATION)
    macros = [f"-D{name}={value}" for name, value in extension.define_macros]
    sources = [ROOT / name for name in extension.sources]
    assert {path.name for path in sources} == {path.name for path in NATIVE.glob("*.c")}
    flags = ["-O1", "-Werror", *EXACT, *FLAGS, *macros, f"-I{headers}"]
    ran(GCC, *flags, "-c", *sources, folder=tmp_path)
    objects = sorted(tmp_path.glob("*.o"))
    # The part of Python's library that is used.
    named = ran("x86_64-w64-mingw32-nm", "-u", *objects, folder=tmp_path)
    names = sorted(set(re.findall(r"\b(?:__imp_)?(_?Py\w+)", named)))
    (tmp_path / "python3.def").write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *names]))
    dlltool = ("x86_64-w64-mingw32-dlltool", "-d", "python3.def", "-l", "libpython3.a")
    ran(*dlltool, folder=tmp_path)
    link = (*extension.extra_link_args, "-L.", "-lpython3", "-o", "_native.pyd")
    ran(GCC, "-shared", *objects, *link, folder=tmp_path)
    about = ran("x86_64-w64-mingw32-objdump", "-p", "_native.pyd", folder=tmp_path)
    assert {name.lower() for name in re.findall(r"DLL Name: (\S+)", about)} == WITH_WINDOWS
