"""``log2``, ``log``, ``exp``, ``pow_``: the same bits everywhere, special operands, exact results.

How far results are from true values: ``test_functions_error``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F64
from omendb_core.scoring import function_tables, functions

from tests.core.compiling import NATIVE
from tests.core.scoring import functions_header
from tests.core.variants import NUMPY, VARIANTS, computing_with, each_variant  # noqa: F401

Function: TypeAlias = Callable[[F64], F64]
FUNCTIONS: dict[str, Function] = {
    "log2": functions.log2,
    "log": functions.log,
    "exp": functions.exp,
}
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    math.inf,
    -math.inf,
    math.nan,
    -math.nan,
    5e-324,
    -5e-324,
    0.5,
    -0.5,
]
SPECIAL += [2.0, -2.0, 3.0, -3.0, 2.2250738585072014e-308, 1.7976931348623157e308, 2.5, -2.5]
SPECIAL += [
    2.0**52 - 0.5,
    2.0**52,
    2.0**52 + 1,
    2.0**53 - 1,
    2.0**53,
    -(2.0**53) + 1,
    1e300,
    -1e300,
]
SPECIAL += [
    709.782712893384,
    709.7827128933841,
    -745.1332191019411,
    -745.1332191019412,
    -708.4,
    1e-320,
]
SPECIAL += [np.nextafter(1, 2), np.nextafter(1, 0), -np.nextafter(1, 2), -np.nextafter(1, 0)]


def bits(values: F64) -> list[int]:
    return values.view(np.uint64).tolist()  # type: ignore[no-any-return]


def any_numbers(rng: np.random.Generator, count: int) -> F64:
    """Every bit pattern is as likely: all exponents, subnormal ones, infinities and NaN."""
    return rng.integers(0, 2**64, count, np.uint64).view(np.float64)


def usual_numbers(rng: np.random.Generator, count: int) -> F64:
    return rng.normal(size=count) * 2.0 ** rng.integers(-60, 10, count)


def around_one(rng: np.random.Generator, count: int) -> F64:
    return 1 + rng.normal(size=count) * 2.0 ** rng.integers(-53, 0, count)


def subnormal_results_of_exp(rng: np.random.Generator, count: int) -> F64:
    return rng.uniform(-746, -707, count)


def numbers(seed: int, count: int) -> F64:
    rng = np.random.default_rng(seed)
    kinds = (any_numbers, usual_numbers, around_one, subnormal_results_of_exp)
    parts = [kind(rng, count // len(kinds)) for kind in kinds]
    return np.concatenate([np.array(SPECIAL), *parts])


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize("lanes", VARIANTS[1:])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_million_results_in_c_have_the_bits_of_numpy(name: str, lanes: str) -> None:
    operands = numbers(1, 1_000_000)
    with computing_with(NUMPY):
        wanted = FUNCTIONS[name](operands)
    with computing_with(lanes):
        assert np.array_equal(FUNCTIONS[name](operands).view("u8"), wanted.view("u8"))


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize("lanes", VARIANTS[1:])
def test_a_million_powers_in_c_have_the_bits_of_numpy(lanes: str) -> None:
    rng = np.random.default_rng(2)
    bases = numbers(3, 500_000)
    exponents = rng.permutation(numbers(4, 500_000))
    near = np.abs(usual_numbers(rng, 500_000)) + 1e-300
    exponents = np.concatenate([exponents, rng.uniform(-750, 715, 500_000) / np.log(near)])
    bases = np.concatenate([bases, near])
    with computing_with(NUMPY):
        wanted = functions.pow_(bases, exponents)
    with computing_with(lanes):
        assert np.array_equal(functions.pow_(bases, exponents).view("u8"), wanted.view("u8"))


def of(function: Function, *operands: float) -> list[int]:
    return bits(function(np.array(operands)))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("name", ["log2", "log"])
def test_logarithms_of_what_has_none(name: str) -> None:
    operands = (0.0, -0.0, -5e-324, -1.0, -math.inf, math.nan, -math.nan, math.inf, 1.0)
    results = [-math.inf, -math.inf, *[math.nan] * 5, math.inf, 0.0]
    assert of(FUNCTIONS[name], *operands) == bits(np.array(results))


@pytest.mark.usefixtures("variant")
def test_exp_at_its_ends() -> None:
    operands = (0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, 709.782712893385)
    results = [1, 1, math.inf, 0, math.nan, math.nan, math.inf]
    assert of(functions.exp, *operands) == bits(np.array(results, np.float64))
    assert 1.797e308 < functions.exp(np.array([709.782712893384]))[0] < math.inf
    assert of(functions.exp, -745.13, -745.2, -1e300) == bits(np.array([5e-324, 0, 0]))


def defined_pow(x: float, y: float) -> float | None:
    """What C99, F.9.4.4 says of special operands; None: it says nothing."""
    is_whole = math.isinf(y) or (not math.isnan(y) and y == math.floor(y))
    is_odd = is_whole and abs(y) < 2**53 and int(y) % 2 == 1
    sign = -1.0 if is_odd and math.copysign(1, x) < 0 else 1.0
    if y == 0 or x == 1:
        return 1.0
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if x == 0 or math.isinf(x):
        return math.copysign(math.inf if (x == 0) == (y < 0) else 0.0, sign)
    if x == -1 and math.isinf(y):
        return 1.0
    if math.isinf(y):
        return math.inf if (abs(x) > 1) == (y > 0) else 0.0
    return math.nan if x < 0 and not is_whole else None


@pytest.mark.usefixtures("variant")
def test_powers_of_special_operands_are_those_of_c99() -> None:
    pairs = [(x, y) for x in SPECIAL for y in SPECIAL]
    results = functions.pow_(np.array([x for x, _ in pairs]), np.array([y for _, y in pairs]))
    known = 0
    for (x, y), result in zip(pairs, results, strict=True):
        wanted = defined_pow(x, y)
        if wanted is not None:
            known += 1
            assert bits(np.array([result])) == bits(np.array([wanted])), (x, y)
        else:
            is_odd = abs(y) < 2**53 and y % 2 == 1
            assert not math.isnan(result)
            assert math.copysign(1, result) == (-1 if x < 0 and is_odd else 1), (x, y)
    assert 0 < known < len(pairs)


@pytest.mark.usefixtures("variant")
def test_a_result_that_is_a_number_is_it() -> None:
    exponents = np.arange(-1074, 1024)
    assert functions.log2(np.ldexp(1.0, exponents)).tolist() == exponents.tolist()
    assert functions.pow_(2.0, exponents.astype(np.float64)).tolist() == [
        math.ldexp(1, e) for e in exponents.tolist()
    ]
    whole = np.arange(-2000.0, 2000.0)
    assert functions.pow_(whole, 3.0).tolist() == (whole**3).tolist()
    assert functions.pow_(whole * 0.37, 1.0).tolist() == (whole * 0.37).tolist()
    assert functions.pow_(whole * whole, 0.5).tolist() == np.abs(whole).tolist()


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("name", ["log2", "log"])
def test_logarithms_never_fall(name: str) -> None:
    rng = np.random.default_rng(5)
    starts = np.array([function_tables.interval(entry)[0] for entry in range(256)])
    scales = 2.0 ** rng.integers(-1000, 1000, 256)
    middles = np.concatenate([starts, starts * scales, np.abs(any_numbers(rng, 2000))])
    middles = middles[np.isfinite(middles) & (middles < 1e308)]
    neighbours = middles.view(np.int64)[:, None] + np.arange(-50, 50)
    values = FUNCTIONS[name](np.maximum(neighbours, 0).ravel().view(np.float64))
    assert (np.diff(values.reshape(neighbours.shape)) >= 0).all()


@pytest.mark.usefixtures("variant")
def test_arrays_that_are_not_contiguous_and_of_any_length() -> None:
    operands = np.abs(numbers(6, 20_000))
    whole = functions.log2(operands)
    assert bits(functions.log2(operands[::-3])) == bits(whole[::-3].copy())
    for length in range(20):
        assert bits(functions.log2(operands[:length])) == bits(whole[:length])
    assert bits(functions.pow_(operands, 0.3)) == bits(
        functions.pow_(operands, np.full(len(operands), 0.3))
    )
    assert bits(functions.pow_(0.3, operands)) == bits(
        functions.pow_(np.full(len(operands), 0.3), operands)
    )


def test_the_header_holds_the_constants() -> None:
    assert functions_header.HEADER.read_text() == functions_header.text(), (
        "python -m tests.core.scoring.functions_header"
    )


def test_each_entry_of_the_table_keeps_what_the_argument_says() -> None:
    tables = function_tables.tables()
    for entry in range(function_tables.LOG_ENTRIES):
        start, end = function_tables.interval(entry)
        inverse, log = float(tables.inverse[entry]), float(tables.log_upper[entry])
        assert inverse * 512 == int(inverse * 512) <= 1024
        assert inverse < 1 or inverse * 256 == int(inverse * 256)
        for mantissa in (start, np.nextafter(end, 0)):
            numerator, denominator = float(mantissa).as_integer_ratio()
            by, of_ = inverse.as_integer_ratio()
            r = (numerator * by - denominator * of_) / (denominator * of_)
            assert abs(r) <= 2**-8
            assert abs(r) <= abs(log) or log == 0
        assert log * 2**42 == int(log * 2**42)


def test_the_digest_that_tells_how_a_build_rounds_is_that_of_numpy() -> None:
    state, operands = 1, []
    for _ in range(16):
        state = (state * 1664525 + 1013904223) % 2**32
        operands.append(state * 2.0**-27 + 2.0**-10)
    x = np.array(operands)
    log2_rests = functions._log2_in_two(x)[1]
    pow_rests = functions._times(x, *functions._log_of_magnitude(x))[1]
    digest = 0
    for one in bits(np.concatenate([log2_rests, pow_rests])):
        digest = (digest ^ one) * 0x100000001B3 % 2**64
    assert f"#define RESTS_DIGEST {digest:#x}u" in (NATIVE / "rounding.c").read_text()
