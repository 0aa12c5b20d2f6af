"""The functions of numbers that ranks are made of: float64 arrays in, float64 arrays out."""

from __future__ import annotations

import numpy as np

from ..model.types import F64


def log2(values: F64) -> F64:
    """The base-2 logarithm, (n,)."""
    with np.errstate(all="ignore"):
        found: F64 = np.log2(values)
        return found


def exp(values: F64) -> F64:
    """e to the power, (n,)."""
    with np.errstate(all="ignore"):
        found: F64 = np.exp(values)
        return found


def log(values: F64) -> F64:
    """The natural logarithm, (n,)."""
    with np.errstate(all="ignore"):
        found: F64 = np.log(values)
        return found


def pow_(bases: F64 | float, exponents: F64 | float) -> F64:
    """Powers, (n,)."""
    with np.errstate(all="ignore"):
        found: F64 = np.power(np.float64(bases), exponents)
        return found
