"""When requests are meant to be sent: the whole plan of a run, made before it begins.

Pure. *Open* arrivals (``constant``, ``poisson``) are a sorted array of seconds from the start: they
do not care how the server fares, as users do not. *Closed* arrivals have no plan: a request intends
to be sent when an earlier one is answered, so a slow server is asked less.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from omendb_core.model.types import F64

Arrivals = Literal["closed", "constant", "poisson"]
#: A send so long after its intended time is a late one.
LATE_SECONDS: Final = 0.001


def constant(rate: float, seconds: float, part: int = 0, parts: int = 1) -> F64:
    """Every 1/rate seconds; of it every ``parts``-th from the ``part``-th on: one process's."""
    count = math.ceil(rate * seconds - 1e-9)
    return np.arange(part, count, parts, dtype=np.float64) / rate


def poisson(rate: float, seconds: float, generator: np.random.Generator) -> F64:
    """Independent users: gaps are exponential. The sum of several processes is Poisson again."""
    count = int(generator.poisson(rate * seconds))
    return np.sort(generator.uniform(0.0, seconds, count))


def planned(
    arrivals: Arrivals,
    rate: float,
    seconds: float,
    part: int,
    parts: int,
    generator: np.random.Generator,
) -> F64 | None:
    """The plan of process ``part`` of ``parts`` for ``rate`` of all; None for closed arrivals."""
    if arrivals == "closed":
        return None
    if arrivals == "constant":
        return constant(rate, seconds, part, parts)
    return poisson(rate / parts, seconds, generator)
