"""The C extension ``_native``, where there is one.

What it does numpy does as well, with the same results to the bit; so whoever uses it looks at
``is_used`` first, and has a way without. There is none where nothing could compile it, and none is
used where ``OMENDB_KERNEL=reference`` asks for numpy alone, nor one that was compiled of other
sources than lie beside it: a checkout that was updated and not installed again. Functions are
documented where they are used, and above each in ``native/``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .sources import digest

try:
    from . import _native as compiled
except ImportError:
    is_there = False
else:
    # A wheel has no sources, and who compiles without setup.py need not say of which.
    _sources = digest(Path(__file__).parent)
    _compiled_of = compiled.sources() if hasattr(compiled, "sources") else "none that are known"
    is_there = _sources == _compiled_of or "" in (_sources, _compiled_of)
    if not is_there:
        warnings.warn(
            "the C extension is of other sources than these, and not used: searches take five times"
            f" as long. Install again: {sys.executable} -m pip install --editable .",
            RuntimeWarning,
            stacklevel=2,
        )

__all__ = ["compiled", "is_there", "is_used", "lanes", "readable"]

#: Whether to call ``compiled``, which is undefined where it is not there.
is_used = is_there and os.environ.get("OMENDB_KERNEL") != "reference"


def _lanes() -> str:
    """Which variant of the arithmetic of scores to use; all give the same bits."""
    if not is_there:
        return "none"
    known = compiled.lanes()
    wanted = os.environ.get("OMENDB_KERNEL", "")
    return wanted if wanted in known else known[0]


#: See ``native/lanes.h``; the first argument of functions that score.
lanes = _lanes()

Element = TypeVar("Element", bound=np.generic)


def readable(array: NDArray[Element]) -> NDArray[Element]:
    """``array`` as the extension takes it: itself, or a copy that is contiguous and aligned."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy()
