"""Where something was measured: machine, kernel, versions, revision. Asks, changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from omendb_ws.runtime.event_loops import choose

from .results import Environment

_ROOT: Final = Path(__file__).parent.parent.parent
_PACKAGES: Final = ("omendb-ws", "numpy", "numexpr", "websockets", "uvloop", "orjson")


def environment(server: str, durability: str) -> Environment:
    """This machine; ``server`` as it calls itself in ``hello``."""
    return Environment(
        machine=machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        event_loop=choose().name,
        versions=versions(),
        git_revision=revision(),
        server=server,
        durability=durability,
    )


def machine() -> str:
    """What the processor calls itself."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the packages that take part."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def revision() -> str | None:
    """The git revision of this tree, with ``+`` if files were changed; None outside of one."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None
