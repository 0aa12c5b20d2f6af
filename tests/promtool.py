"""Prometheus's own checker, where it is installed (Debian's package ``prometheus``)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import pytest

#: For tests that need it; ``.ci/run`` installs it.
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt install prometheus"
)


def promtool(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    """Its exit status, and all that it says."""
    command: Sequence[str] = ("promtool", *arguments)
    done = subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()
