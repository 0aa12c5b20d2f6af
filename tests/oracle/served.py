"""The engine's own log2, exp, log and pow, one number at a time.

With these an answer can be told to the bit. That they are near the truth is another test's.
"""

from __future__ import annotations

import numpy as np
from omendb_core.scoring import functions

from .numbers import Functions


def _one(value: float) -> np.ndarray:
    return np.array([value], np.float64)


SERVED = Functions(
    lambda x: float(functions.log2(_one(x))[0]),
    lambda x: float(functions.exp(_one(x))[0]),
    lambda x: float(functions.log(_one(x))[0]),
    lambda x, y: float(functions.pow_(_one(x), _one(y))[0]),
)
