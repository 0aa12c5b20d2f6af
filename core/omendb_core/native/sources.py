"""Which C sources there are, as one digest: an extension holds that of those it was compiled of.

Knows nothing of the package, as setup.py runs it by itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(folder: Path) -> str:
    """Of the names and texts of the sources in ``folder``; empty where none are, as in a wheel."""
    found = hashlib.sha256()
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".c", ".h"})
    for path in paths:
        found.update(b"%s\0%s\0" % (path.name.encode(), path.read_bytes()))
    return found.hexdigest()[:16] if paths else ""
