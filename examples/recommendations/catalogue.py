"""The store's items: packages of Debian, with embeddings of what they say of themselves.

``items.npz`` beside this file is made by ``make_items.py``, which says where it all comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

APPS = "apps"
CLICKS = "clicks"


class Catalogue(NamedTuple):
    """``vectors`` float32 (n, 384) of length 1; the others lists of n texts."""

    names: list[str]
    sections: list[str]
    abouts: list[str]
    vectors: NDArray[np.float32]


def load() -> Catalogue:
    """All items, in an order that mixes the sections."""
    with np.load(Path(__file__).with_name("items.npz")) as arrays:
        vectors = arrays["vectors"].astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        names, sections, abouts = (arrays[name].tolist() for name in Catalogue._fields[:3])
        return Catalogue(names, sections, abouts, vectors)
