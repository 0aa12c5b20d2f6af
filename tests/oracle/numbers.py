"""float32, scores, and log2, exp, log and pow as mathematics has them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import mpmath

#: Enough for what is within 2 ulp of a float64 to be told from what is not.
PRECISION_BITS = 300


def f32(value: float) -> float:
    """Round to float32; -0 becomes 0."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0] + 0.0
    except OverflowError:
        return math.copysign(math.inf, value)


def lane_sum(products: Sequence[float]) -> float:
    lanes = [0.0] * 8
    for index, product in enumerate(products):
        lanes[index % 8] += product
    a, b, c, d, e, f, g, h = lanes
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


def score(metric: str, row: Sequence[float], query: Sequence[float]) -> float:
    if metric == "l2":
        return f32(-lane_sum([(x - q) * (x - q) for x, q in zip(row, query, strict=True)]))
    return f32(lane_sum([x * q for x, q in zip(row, query, strict=True)]))


def norm(vector: Sequence[float]) -> float:
    return math.sqrt(lane_sum([x * x for x in vector]))


def stored(metric: str, vector: Sequence[float]) -> list[float]:
    """What is kept of a row, and asked with of a query (elements are float32 values)."""
    if metric != "cosine":
        return list(vector)
    length = norm(vector)
    return [struct.unpack("<f", struct.pack("<f", x / length))[0] for x in vector]


@dataclass(frozen=True)
class Functions:
    """The four that an order may need; of floats, NaN for what is not a number."""

    log2: Callable[[float], float]
    exp: Callable[[float], float]
    log: Callable[[float], float]
    pow: Callable[[float, float], float]


def nearest(value: mpmath.mpf) -> float:
    """Rounded to float64, once (subnormals too)."""
    try:
        return float(fraction(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def fraction(value: mpmath.mpf) -> Fraction:
    sign, mantissa, exponent, _ = value._mpf_
    whole = -int(mantissa) if sign else int(mantissa)
    return Fraction(whole) * Fraction(2) ** exponent


def _log(x: float, of: Callable[[mpmath.mpf], mpmath.mpf]) -> float:
    if math.isnan(x) or x < 0:
        return math.nan
    if x == 0:
        return -math.inf
    if math.isinf(x):
        return x
    with mpmath.workprec(PRECISION_BITS):
        return nearest(of(mpmath.mpf(x)))


def _log2(x: float) -> float:
    return _log(x, lambda value: mpmath.log(value) / mpmath.log(2))


def _exp(x: float) -> float:
    if math.isnan(x):
        return x
    if abs(x) > 1000:
        return math.inf if x > 0 else 0.0
    with mpmath.workprec(PRECISION_BITS):
        return nearest(mpmath.exp(mpmath.mpf(x)))


def _pow(x: float, y: float) -> float:
    """As IEEE 754 has pow, but that NaN is never swallowed (NaN ** 0, 1 ** NaN)."""
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if x == 0 or math.isinf(x) or math.isinf(y) or y == 0:
        try:
            return math.pow(x, y)
        except ValueError:  # 0 to a negative power
            is_odd = y.is_integer() and y % 2 == 1
            return math.copysign(math.inf, x) if is_odd else math.inf
    if x < 0:
        if not y.is_integer():
            return math.nan
        return -_pow(-x, y) if y % 2 == 1 else _pow(-x, y)
    if abs(math.log2(x) * y) > 1200:
        return math.inf if (x > 1) == (y > 0) else 0.0
    with mpmath.workprec(PRECISION_BITS):
        return nearest(mpmath.power(mpmath.mpf(x), mpmath.mpf(y)))


#: Rounded to the nearest float64.
EXACT = Functions(_log2, _exp, lambda x: _log(x, mpmath.log), _pow)


def ulps_between(found: float, true: float) -> float:
    """In units of the last place of ``true``; 0 if both are the same, or NaN."""
    if found == true or (math.isnan(found) and math.isnan(true)):
        return 0.0
    if not (math.isfinite(found) and math.isfinite(true)):
        return math.inf
    return float(abs(Fraction(found) - Fraction(true)) / Fraction(math.ulp(true)))
