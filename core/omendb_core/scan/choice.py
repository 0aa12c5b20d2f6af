"""The choice of the kernel that scans, and of what a ring keeps for it."""

from __future__ import annotations

import os
from typing import Final

from .. import native
from ..model.types import Definition
from ..rows.shadow import MAX_DIM, Shadow, worth_nibbles
from .interface import Scan
from .reference import REFERENCE, ReferenceScan
from .shadowed import ShadowedScan

PORTABLE: Final = "portable"


def names() -> list[str]:
    """The kernels that run here, best first.

    Those of the C extension for this processor, the one in numpy, and plain C, which takes four
    times as long as numpy with a BLAS.
    """
    compiled = native.compiled.kernels() if native.is_there else []
    return [*(name for name in compiled if name != PORTABLE), REFERENCE, *compiled[-1:]]


def choose(name: str | None = None) -> Scan:
    """Return the kernel ``name``, else the one that ``OMENDB_KERNEL`` names, else the best one.

    Raises ValueError, which lists the choices, for one that is unknown or does not run here.
    """
    name = name or os.environ.get("OMENDB_KERNEL") or names()[0]
    if name not in names():
        raise ValueError(f"no scan kernel is named {name!r} here; there is: {', '.join(names())}")
    return ReferenceScan() if name == REFERENCE else ShadowedScan(name)


def shadow_for(scan: Scan, definition: Definition) -> Shadow | None:
    """The shadow that a ring of this definition keeps for ``scan``."""
    if not has_shadow(scan, definition):
        return None
    capacity = definition.capacity
    has_nibbles = worth_nibbles(capacity)
    return Shadow(capacity, definition.dim, definition.metric, has_nibbles=has_nibbles)


def has_shadow(scan: Scan, definition: Definition) -> bool:
    """Whether a ring of this definition keeps one."""
    return scan.keeps_shadow and definition.dim <= MAX_DIM
