"""``log2``, ``exp``, ``log`` and ``pow_``, defined to the bit, of float64 arrays.

PROTOCOL section 5 orders rows by them, and answers are functions of window and query to the bit.
numpy's own differ from processor to processor (4.6% of the results of ``exp`` with and without
AVX-512). So these are sequences of IEEE 754 operations that round the same everywhere: + - * and
comparisons of float64, operations on bits, and lookups. No operation is fused. That is the
definition; ``native/functions_body.h`` does the same steps in C, and tests compare all bits.

What is known of the results (the argument is below, the tests hold it against mpmath):

* within 0.51 ulp of the true value; 1.02 ulp where it is subnormal, as it is rounded twice then;
* where the true value is a float64 the result is it: log2 of a power of two, 2 to the power of 3;
* ``log`` and ``log2`` never fall as their operand rises.

NaN is always the same one (``nan``). Special operands are those of C99, Annex F: ``log(±0)`` is
-inf, of less NaN; ``pow_(x, ±0)`` and ``pow_(1, y)`` are 1, for NaN too.

**Logarithms**, by tables (Tang, *Table-driven implementation of the logarithm function*, ACM TOMS
16(4), 1990), carried with about 68 bits, which powers need. x = 2**k m, and c an inverse of m of
nine bits, so that r = m c - 1 is within ±2**-8 and exact (``function_tables._inverse``); m is taken
in two parts to get it with products that are exact. Then

    ln x = (k ln2 + -ln c) + r - r²/2 + r³ (1/3 - r/4 + … + r⁶/9)

* k * ln2_upper + log_upper is exact: a multiple of 2**-42 below 2**10.
* r is added by Dekker's fast two-sum (the sum is 0, or at least as large as r: tested for every
  entry), so is the square of r's upper 26 bits; both lose nothing. What else there is goes into
  ``lower``: the other part of the square (2**-26 r²), the series (2**-17 r at most), the lower
  parts of constants. Each is off by a few 2**-53 of itself: by 2**-69 of the result.
* The series ends with r⁹; r¹⁰/10 is below 2**-75 r.

``upper + lower`` is rounded once for ``log``: 0.5 ulp and 2**-16. For ``log2`` the upper 26 bits
times the upper 26 bits of 1/ln 2 are exact, the rest (2**-17 of it) is rounded, and their sum once
more. Before that last rounding the value is off by 2**-66 of itself, below 2**-56; neighbours'
true values are at least 2**-53 apart, so the sums are in order, and rounding keeps order.

**exp** (Tang, *Table-driven implementation of the exponential function*, ACM TOMS 15(2), 1989):
x = (128 e + j) ln2/128 + r, |r| ≤ 2**-8.5; the first step of the reduction is exact, since both
terms are multiples of the ulp of x or of 2**-42, and the difference is small. Then exp(x) is
2**e p (1 + q), with p = 2**(j/128), and q = exp(r) - 1 with p's own error, by the series up to r⁵
(r⁶/720 is below 2**-60). All errors of q are below 2**-59 together, so p + p q is within 0.5 ulp
and 2**-6. 2**e is multiplied in two steps of which the first is exact, so that overflow and
underflow round once.

**pow_** is exp(y ln x), with the product of y and ln x (68 bits) as a sum of two. It is off by
2**-67 of itself, which is at most 745 where the result is neither 0 nor infinite: by 2**-57,
2**-4 ulp at the very worst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..model.types import F64, I64, U64
from .function_tables import EXP_ENTRIES, FIRST, LOG_ENTRIES, tables

#: Elements at a time: temporaries of 64 KiB stay in an L2 cache.
_BLOCK: Final = 1 << 13

_MANTISSA_BITS: Final = 52
_ONE_BITS: Final = 1023 << _MANTISSA_BITS
_LEAST_NORMAL_BITS: Final = 1 << _MANTISSA_BITS
#: Added to the bits of x, it brings FIRST to the beginning of a binade.
_TO_FIRST: Final = _ONE_BITS - int(np.float64(FIRST).view(np.int64))
_ENTRY_SHIFT: Final = _MANTISSA_BITS - (LOG_ENTRIES.bit_length() - 1)
#: Bits that are cleared to leave 21, and 26, of a mantissa.
_LOWER_32: Final = (1 << 32) - 1
_LOWER_27: Final = (1 << 27) - 1
#: Scales the smallest subnormal number to a normal one.
_SUBNORMAL_SHIFT: Final = 54
#: A float64 of which 1 is the last bit: adding it rounds to a whole number, ties to even.
_ROUNDING: Final = 1.5 * 2.0**52
_ROUNDING_BITS: Final = int(np.float64(_ROUNDING).view(np.int64))
_EXP_SHIFT: Final = EXP_ENTRIES.bit_length() - 1
#: Beyond these exp is infinite, and 0.
_MOST_EXPONENT: Final = 720.0
_LEAST_EXPONENT: Final = -760.0
#: Added to the exponent of a power of two to keep it positive.
_BIAS: Final = 2048


def log2(values: F64) -> F64:
    """Binary logarithms of float64 (n,)."""
    return _applied("log2", _log2, values)


def log(values: F64) -> F64:
    """Natural logarithms of float64 (n,)."""
    return _applied("log", _log, values)


def exp(values: F64) -> F64:
    """e to the power of float64 (n,)."""
    return _applied("exp", _exp, values)


def pow_(bases: F64 | float, exponents: F64 | float) -> F64:
    """``bases`` to the power of ``exponents``, float64 (n,); one of them may be a number."""
    if not isinstance(bases, np.ndarray):
        bases = np.full(np.shape(exponents), bases, np.float64)
    if not isinstance(exponents, np.ndarray):
        exponents = np.full(len(bases), exponents, np.float64)
    return _applied("pow", _pow, bases, exponents)


def _applied(name: str, in_numpy: Callable[..., F64], *operands: F64) -> F64:
    """The function of the operands, arrays of one length."""
    results = np.empty(len(operands[0]))
    if native.is_used:
        arrays = (native.readable(operand) for operand in operands)
        getattr(native.compiled, name)(native.lanes, *arrays, results)
        return results
    with np.errstate(all="ignore"):
        for start in range(0, len(results), _BLOCK):
            block = slice(start, start + _BLOCK)
            results[block] = in_numpy(*(operand[block] for operand in operands))
    return results


def _log(x: F64) -> F64:
    upper, lower = _log_in_two(x)
    return _with_special_logs(x, upper + lower)


def _log2(x: F64) -> F64:
    upper, lower = _log2_in_two(x)
    return _with_special_logs(x, upper + lower)


def _exp(x: F64) -> F64:
    return np.where(np.isnan(x), np.nan, _exp_of_two(x, 0.0))


def _pow(x: F64, y: F64) -> F64:
    magnitude = np.abs(x)
    is_one = magnitude == 1
    powers = np.where(is_one, 1.0, _exp_of_two(*_times(y, *_log_of_magnitude(magnitude))))
    is_whole = _is_whole(np.abs(y))
    is_odd = is_whole & ~_is_whole(np.abs(y) * 0.5)
    powers = np.where(np.signbit(x) & is_odd, -powers, powers)
    is_nan = np.isnan(x) | np.isnan(y) | ((x < 0) & (magnitude != np.inf) & ~is_whole)
    powers = np.where(is_nan, np.nan, powers)
    return np.where((y == 0) | (x == 1), 1.0, powers)


def _log_in_two(x: F64) -> tuple[F64, F64]:
    """ln of positive finite ``x`` as a sum of two, the second below 2**-16 of the first.

    Of other numbers anything.
    """
    constants = tables()
    is_small = x.view(np.int64) < _LEAST_NORMAL_BITS
    bits = np.where(is_small, x * 2.0**_SUBNORMAL_SHIFT, x).view(np.int64)
    moved: U64 = (bits + _TO_FIRST).view(np.uint64)
    binade = (moved >> np.uint64(_MANTISSA_BITS)).view(np.int64) - 1023
    entry: I64 = (moved >> np.uint64(_ENTRY_SHIFT)).view(np.int64) & (LOG_ENTRIES - 1)
    m: F64 = (bits - (binade << _MANTISSA_BITS)).view(np.float64)
    k = (binade - np.where(is_small, _SUBNORMAL_SHIFT, 0)).astype(np.float64)

    inverse = constants.inverse[entry]
    m_head = _without(m, _LOWER_32)
    r = (m_head * inverse - 1) + (m - m_head) * inverse

    main = k * constants.ln2_upper + constants.log_upper[entry]
    rest = k * constants.ln2_lower + constants.log_lower[entry]
    with_r = main + r
    lost_with_r = (main - with_r) + r
    r_head = _without(r, _LOWER_27)
    half_square = (r_head * r_head) * 0.5
    upper = with_r - half_square
    lost_with_square = (with_r - upper) - half_square
    other_square = ((r - r_head) * (r_head + r)) * 0.5
    series = r * (1 / 9) + -1 / 8
    for coefficient in (1 / 7, -1 / 6, 1 / 5, -1 / 4, 1 / 3):
        series = series * r + coefficient
    cubes = ((r * r) * r) * series
    lower = (((cubes - other_square) + rest) + lost_with_r) + lost_with_square
    return upper, lower


def _log2_in_two(x: F64) -> tuple[F64, F64]:
    """As ``_log_in_two``, for base 2."""
    constants = tables()
    upper, lower = _log_in_two(x)
    head = _without(upper, _LOWER_27)
    tail = (upper - head) + lower
    small = head * constants.inverse_ln2_lower + tail * constants.inverse_ln2
    return head * constants.inverse_ln2_upper, small


def _with_special_logs(x: F64, logs: F64) -> F64:
    logs = np.where(x == np.inf, np.inf, logs)
    return np.where(x > 0, logs, np.where(x == 0, -np.inf, np.nan))


def _log_of_magnitude(x: F64) -> tuple[F64, F64]:
    """ln of ``x`` ≥ 0 as a sum of two that do not overlap."""
    upper, lower = _log_in_two(x)
    total = upper + lower
    lower = (upper - total) + lower
    is_plain = (x > 0) & (x < np.inf)
    total = np.where(is_plain, total, np.where(x == 0, -np.inf, np.inf))
    return total, np.where(is_plain, lower, 0.0)


def _times(y: F64, upper: F64, lower: F64) -> tuple[F64, F64]:
    """``y`` times a sum of two, as a sum of two; the second is 0 where the first is beyond exp."""
    product = y * upper
    y_head, head = _without(y, _LOWER_27), _without(upper, _LOWER_27)
    y_tail, tail = y - y_head, upper - head
    lost = ((y_head * head - product) + y_head * tail) + y_tail * head
    rest = (lost + y_tail * tail) + y * lower
    is_within = (product > _LEAST_EXPONENT) & (product < _MOST_EXPONENT)
    return product, np.where(is_within, rest, 0.0)


def _exp_of_two(x: F64, rest: F64 | float) -> F64:
    """exp(x + rest), ``rest`` below half an ulp of ``x``; of NaN anything."""
    constants = tables()
    x = np.where(x > _MOST_EXPONENT, _MOST_EXPONENT, x)
    x = np.where(x < _LEAST_EXPONENT, _LEAST_EXPONENT, x)
    rounded = x * constants.steps + _ROUNDING
    steps = rounded - _ROUNDING
    number: I64 = rounded.view(np.int64) - _ROUNDING_BITS
    entry = number & (EXP_ENTRIES - 1)
    biased: U64 = (number + (_BIAS << _EXP_SHIFT)).view(np.uint64)
    exponent: I64 = (biased >> np.uint64(_EXP_SHIFT)).view(np.int64)

    r = ((x - steps * constants.step_upper) - steps * constants.step_lower) + rest
    series = ((r * (1 / 120) + 1 / 24) * r + 1 / 6) * r + 0.5
    less_one = r + (r * r) * series
    power = constants.power[entry]
    result = power + power * (constants.power_rest[entry] + less_one)
    half = exponent >> 1
    first = ((half - 1) << _MANTISSA_BITS).view(np.float64)
    second = ((exponent - half - 1) << _MANTISSA_BITS).view(np.float64)
    scaled: F64 = (result * first) * second
    return scaled


def _is_whole(y: F64) -> NDArray[np.bool_]:
    """Whether ``y`` ≥ 0 is a whole number; an infinity is."""
    is_whole: NDArray[np.bool_] = (y >= 2.0**52) | ((y + 2.0**52) - 2.0**52 == y)
    return is_whole


def _without(x: F64, lower_bits: int) -> F64:
    """``x`` with these bits cleared."""
    return (x.view(np.int64) & ~lower_bits).view(np.float64)
