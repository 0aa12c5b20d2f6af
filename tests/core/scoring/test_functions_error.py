"""How far ``log2``, ``log``, ``exp`` and ``pow_`` are from true values, which mpmath has.

numpy alone: C gives the same bits (``test_functions``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from omendb_core.model.types import F64
from omendb_core.scoring import function_tables, functions

from tests.core.variants import NUMPY, computing_with

PRECISION_BITS = 300
#: What is argued in functions.py.
MOST_ULP, MOST_SUBNORMAL_ULP = 0.51, 1.02
MOST_ULP_OF_POW = 0.58
LEAST_NORMAL = 2.0**-1022


@pytest.fixture(autouse=True)
def in_numpy_and_many_digits() -> Iterator[None]:
    with computing_with(NUMPY), mpmath.workprec(PRECISION_BITS):
        yield


def errors(results: F64, true: list[Any]) -> tuple[float, float]:
    """The largest errors of normal and of subnormal results, in ulp."""
    most = [0.0, 0.0]
    for result, wanted in zip(results.tolist(), true, strict=True):
        if wanted == 0:
            assert result == 0
            continue
        # mantissa in [1/2, 1): the ulp of numbers in that binade.
        exponent = max(mpmath.frexp(wanted)[1], -1021)
        if exponent > 1024 or (exponent == 1024 and np.isinf(result)):
            assert np.isinf(result)
            assert abs(wanted) > mpmath.mpf(2) ** 1024 * (1 - mpmath.mpf(2) ** -54.1)
            continue
        error = abs(mpmath.mpf(result) - wanted) / mpmath.mpf(2) ** (exponent - 53)
        is_subnormal = abs(wanted) < LEAST_NORMAL
        most[is_subnormal] = max(most[is_subnormal], float(error))
    return most[0], most[1]


def positive_numbers(rng: np.random.Generator, count: int) -> F64:
    """All exponents, subnormal ones more often, and close to 1."""
    return np.concatenate(
        [
            rng.integers(1, 0x7FF0000000000000, count).view(np.float64),
            2.0 ** rng.uniform(-1074, -1022, count // 4),
            1 + rng.uniform(-1, 1, count) * 2.0 ** rng.uniform(-52, 0, count),
            edges(rng),
        ]
    )


def edges(rng: np.random.Generator) -> F64:
    """Where one entry of the table of logarithms follows another, in some binades."""
    starts = np.array([function_tables.interval(entry)[0] for entry in range(256)])
    near = starts.view(np.int64)[:, None] + np.array([-1, 0, 1])
    values = near.ravel().view(np.float64)
    return np.concatenate([values, values * 2.0 ** rng.integers(-900, 900, len(values))])


@pytest.mark.parametrize(
    ("function", "true"),
    [(functions.log2, lambda x: mpmath.log(x) / mpmath.ln2), (functions.log, mpmath.log)],
    ids=["log2", "log"],
)
def test_logarithms_are_within_what_is_argued(
    function: Callable[[F64], F64], true: Callable[[Any], Any]
) -> None:
    operands = positive_numbers(np.random.default_rng(7), 6000)
    wanted = [true(mpmath.mpf(x)) for x in operands.tolist()]
    assert max(errors(function(operands), wanted)) <= MOST_ULP


def exponents(rng: np.random.Generator, count: int) -> F64:
    """Small ones, all that have a result, and those that lie between two steps of the table."""
    halfway = (rng.integers(-1075 * 128, 1024 * 128, count) + 0.5) * (np.log(2) / 128)
    return np.concatenate(
        [
            rng.uniform(-745.2, 709.79, count),
            rng.normal(size=count) * 2.0 ** rng.uniform(-60, 6, count),
            (halfway.view(np.int64) + rng.integers(-2, 3, count)).view(np.float64),
            rng.uniform(-745.2, -708.3, count // 2),
            rng.uniform(709.7, 709.79, 100),
        ]
    )


def test_exp_is_within_what_is_argued() -> None:
    operands = exponents(np.random.default_rng(8), 5000)
    normal, subnormal = errors(
        functions.exp(operands), [mpmath.exp(mpmath.mpf(x)) for x in operands.tolist()]
    )
    assert normal <= MOST_ULP
    assert 0 < subnormal <= MOST_SUBNORMAL_ULP


def pairs(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    """Bases of all magnitudes, and close to 1, with results of all magnitudes."""
    bases = positive_numbers(rng, count)
    with np.errstate(all="ignore"):
        wanted = rng.uniform(-745, 709.7, len(bases)) * rng.choice([1, 1e-3, 1e-9], len(bases))
        powers = wanted / np.log(bases)
    fine = np.isfinite(powers)
    whole = rng.integers(-20, 20, len(bases)).astype(np.float64)
    return np.concatenate([bases[fine], bases]), np.concatenate([powers[fine], whole])


def test_powers_are_within_what_is_argued() -> None:
    bases, powers = pairs(np.random.default_rng(9), 5000)
    true = [
        mpmath.exp(mpmath.mpf(y) * mpmath.log(mpmath.mpf(x)))
        for x, y in zip(bases.tolist(), powers.tolist(), strict=True)
    ]
    normal, subnormal = errors(functions.pow_(bases, powers), true)
    assert normal <= MOST_ULP_OF_POW
    assert 0 < subnormal <= MOST_SUBNORMAL_ULP


def test_constants_are_true() -> None:
    tables = function_tables.tables()
    close = mpmath.mpf(2) ** -96
    for entry in range(function_tables.LOG_ENTRIES):
        log = mpmath.mpf(tables.log_upper[entry]) + float(tables.log_lower[entry])
        assert abs(log + mpmath.log(float(tables.inverse[entry]))) <= close
    for j in range(function_tables.EXP_ENTRIES):
        power = mpmath.mpf(tables.power[j]) * (1 + mpmath.mpf(tables.power_rest[j]))
        assert abs(power - mpmath.mpf(2) ** (mpmath.mpf(j) / 128)) <= close
    ln2 = mpmath.ln2 + 0
    assert abs(mpmath.mpf(tables.ln2_upper) + tables.ln2_lower - ln2) <= close
    assert abs(mpmath.mpf(tables.step_upper) + tables.step_lower - ln2 / 128) <= close
    inverse = mpmath.mpf(tables.inverse_ln2_upper) + tables.inverse_ln2_lower
    assert abs(inverse - 1 / ln2) <= mpmath.mpf(2) ** -78
    assert tables.inverse_ln2 == float(1 / ln2)
    assert tables.steps == float(128 / ln2)


@pytest.mark.parametrize("x", [0.75, 1 - 2.0**-9, 1 + 2.0**-9, 1.25, 3.5, 2.0**-1074 * 3])
def test_a_logarithm_carries_67_bits(x: float) -> None:
    upper, lower = functions._log_in_two(np.array([x]))
    exact = Fraction(float(upper[0])) + Fraction(float(lower[0]))
    true = mpmath.log(mpmath.mpf(x))
    error = abs(mpmath.mpf(exact.numerator) / exact.denominator / true - 1)
    assert error <= mpmath.mpf(2) ** -67
