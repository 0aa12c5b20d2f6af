"""The constants of ``functions``: computed, so that nobody has to believe a list of digits.

Each is a correctly rounded value of ``decimal`` with 60 digits, rounded once more to what its use
needs (few bits, so that products are exact; or the nearest float64). The C sources have the same
numbers in ``native/function_tables.h``, which a test writes again from these.

Knows nothing of arrays that are computed with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np

from ..model.types import F64

#: A mantissa is looked up by its first 8 bits, in [FIRST, 2 FIRST): about sqrt(1/2) and sqrt(2).
LOG_ENTRIES: Final = 256
FIRST: Final = 181 / 256
#: Powers 2 ** (j / EXP_ENTRIES).
EXP_ENTRIES: Final = 128
#: Upper parts of logarithms are multiples of 1 / this, so that sums with k * ln 2 are exact.
_LOG_SCALE: Final = 2**42
#: Of ln 2 / 128: 35 bits, which leaves 18 for its multiple.
_STEP_SCALE: Final = 2**42
#: Of 1 / ln 2: 26 bits, to be multiplied by as many.
_INVERSE_SCALE: Final = 2**25

_PRECISE: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Tables:
    """Pairs ``upper`` + ``lower`` stand for numbers of more than 53 bits.

    ``inverse`` float64 (256,), of 9 bits each, near 1 / m for the mantissas m of an entry;
    ``log_upper`` + ``log_lower`` (256,) is -ln of it. ``power`` (128,) is 2 ** (j / 128), less
    than that by the factor 1 + ``power_rest``.
    """

    inverse: F64
    log_upper: F64
    log_lower: F64
    power: F64
    power_rest: F64
    ln2_upper: float
    ln2_lower: float
    inverse_ln2: float
    inverse_ln2_upper: float
    inverse_ln2_lower: float
    steps: float
    step_upper: float
    step_lower: float


@cache
def tables() -> Tables:
    """All constants; 15 ms for the first who asks."""
    with localcontext(_PRECISE):
        ln2 = Decimal(2).ln()
        inverses = [_inverse(entry) for entry in range(LOG_ENTRIES)]
        logs = [_in_two(-Decimal(inverse).ln(), _LOG_SCALE) for inverse in inverses]
        exact_powers = [Decimal(2) ** (Decimal(j) / EXP_ENTRIES) for j in range(EXP_ENTRIES)]
        powers = [float(power) for power in exact_powers]
        rests = [
            float(exact / Decimal(power) - 1)
            for exact, power in zip(exact_powers, powers, strict=True)
        ]
        ln2_upper, ln2_lower = _in_two(ln2, _LOG_SCALE)
        inverse_upper, inverse_lower = _in_two(1 / ln2, _INVERSE_SCALE)
        step_upper, step_lower = _in_two(ln2 / EXP_ENTRIES, _STEP_SCALE)
        return Tables(
            inverse=np.array(inverses),
            log_upper=np.array([upper for upper, _ in logs]),
            log_lower=np.array([lower for _, lower in logs]),
            power=np.array(powers),
            power_rest=np.array(rests),
            ln2_upper=ln2_upper,
            ln2_lower=ln2_lower,
            inverse_ln2=float(1 / ln2),
            inverse_ln2_upper=inverse_upper,
            inverse_ln2_lower=inverse_lower,
            steps=float(EXP_ENTRIES / ln2),
            step_upper=step_upper,
            step_lower=step_lower,
        )


def interval(entry: int) -> tuple[float, float]:
    """The mantissas [from, to) that use the entry."""
    ones = int((1 - FIRST) * 2 * LOG_ENTRIES)
    if entry < ones:
        start = FIRST + entry / (2 * LOG_ENTRIES)
        return start, start + 1 / (2 * LOG_ENTRIES)
    start = 1 + (entry - ones) / LOG_ENTRIES
    return start, start + 1 / LOG_ENTRIES


def _inverse(entry: int) -> float:
    """Nine bits near the inverse of the entry's middle; 1 beside 1, where the logarithm is small.

    With m in an entry, m * inverse - 1 lies within ±2**-8 and is a multiple of 2**-61: a float64.
    """
    start, end = interval(entry)
    if abs(start - 1) <= 1 / LOG_ENTRIES and abs(end - 1) <= 1 / LOG_ENTRIES:
        return 1.0
    scale = LOG_ENTRIES if end <= 1 else 2 * LOG_ENTRIES
    return math.floor(scale * 2 / (start + end) + 0.5) / scale


def _in_two(value: Decimal, scale: int) -> tuple[float, float]:
    """``value`` as a multiple of 1 / ``scale``, a power of two, and the rest, each a float64."""
    upper = int((value * scale).to_integral_value()) / scale
    return upper, float(value - Decimal(upper))
