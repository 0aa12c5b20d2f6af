"""What the extension computes, as a program of its own: under sanitizers, and on an emulated Arm.

``native/exactness.c`` compares every variant with plain loops, and prints a digest of all bits.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.core.compiling import (
    EXACT,
    FLAGS,
    NATIVE,
    SANITIZERS,
    compiled,
    has_sanitizers,
    sources_without_python,
)

PROGRAM = Path(__file__).parent / "exactness.c"
THREADS_PROGRAM = Path(__file__).parent / "threads.c"
ARM_COMPILER = "aarch64-linux-gnu-gcc"
ARM_MACHINE = "qemu-aarch64"


def build(compiler: str, flags: list[str], folder: Path, source: Path = PROGRAM) -> Path:
    program = folder / source.stem
    command = [compiler, *FLAGS, *EXACT, *flags, "-pthread", f"-I{NATIVE}", str(source)]
    built = compiled([*command, *sources_without_python(), "-lm", "-o", str(program)])
    assert built.returncode == 0, built.stderr
    return program


def output_of(*command: str) -> list[str]:
    """Names of kernels, then the digest."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_every_variant_is_exact_and_touches_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    if not has_sanitizers(tmp_path):
        pytest.skip("no compiler with sanitizers")
    *kernels, digest = output_of(str(build("cc", SANITIZERS, tmp_path)))
    assert kernels[-1] == "portable"
    assert re.fullmatch("[0-9a-f]{16}", digest)


def test_threads_that_share_a_query_race_for_nothing(tmp_path: Path) -> None:
    flags = ["-O1", "-g", "-fsanitize=thread"]
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    empty = [str(tmp_path / "empty.c"), "-o", str(tmp_path / "empty")]
    if not has_sanitizers(tmp_path) or compiled(["cc", *flags, *empty]).returncode != 0:
        pytest.skip("no compiler with this sanitizer")
    assert output_of(str(build("cc", flags, tmp_path, THREADS_PROGRAM))) == []


def test_an_arm_processor_computes_the_same_bits(tmp_path: Path) -> None:
    missing = [name for name in ("cc", ARM_COMPILER, ARM_MACHINE) if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (see CONTRIBUTING.md)")
    (tmp_path / "arm").mkdir()
    here = output_of(str(build("cc", ["-O3"], tmp_path)))
    program = str(build(ARM_COMPILER, ["-O3", "-static"], tmp_path / "arm"))
    assert output_of(ARM_MACHINE, program) == ["neon", "portable", here[-1]]
    # An older one, without SDOT.
    assert output_of(ARM_MACHINE, "-cpu", "cortex-a53", program) == ["portable", here[-1]]
