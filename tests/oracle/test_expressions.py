"""Values of ``rank`` that were worked out by hand from PROTOCOL section 5."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import pytest

from tests.oracle.expressions import Scored, rank_of, value_of
from tests.oracle.numbers import EXACT, nearest, ulps_between

ROW = Scored(0.5, {"price": 4.0, "stock": -3, "new": True, "old": False, "none": None}, 10.0)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (2, 2.0),
        ("$score", 0.5),
        ("$age", 10.0),
        ("new", 1.0),
        ("old", 0.0),
        ("none", None),
        ("absent", None),
        ({"$add": [1, "$score", "price"]}, 5.5),
        ({"$add": [1e16, 1, 1]}, 1e16),
        ({"$add": [1, 1, 1e16]}, 1e16 + 2),
        ({"$sub": ["price", "stock"]}, 7.0),
        ({"$div": [1, "price"]}, 0.25),
        ({"$div": [1, 0]}, math.inf),
        ({"$div": [-1, 0]}, -math.inf),
        ({"$div": [1, -0.0]}, -math.inf),
        ({"$div": [0, 0]}, None),
        ({"$div": [1, {"$div": [1, 0]}]}, 0.0),
        ({"$mul": [0, {"$div": [1, 0]}]}, None),
        ({"$mul": [1e200, 1e200]}, math.inf),
        ({"$min": [3, "stock", 2]}, -3.0),
        ({"$max": [3, "stock", "price"]}, 4.0),
        ({"$min": [3, "none"]}, None),
        ({"$max": [{"$div": [0, 0]}, 1]}, None),
        ({"$pow": ["price", 0.5]}, 2.0),
        ({"$pow": ["stock", 3]}, -27.0),
        ({"$pow": ["stock", 0.5]}, None),
        ({"$pow": ["none", 0]}, None),
        ({"$pow": [0, -1]}, math.inf),
        ({"$neg": "stock"}, 3.0),
        ({"$abs": "stock"}, 3.0),
        ({"$sqrt": "price"}, 2.0),
        ({"$sqrt": "stock"}, None),
        ({"$exp": 0}, 1.0),
        ({"$exp": 1}, math.e),
        ({"$log": 0}, -math.inf),
        ({"$log": "stock"}, None),
        ({"$exp": {"$log": 0}}, 0.0),
        ({"$default": ["none", 7]}, 7.0),
        ({"$default": ["absent", -1]}, -1.0),
        ({"$default": ["new", 0.5]}, 1.0),
        ({"$if": [{"price": {"$gt": 3}}, 1, "none"]}, 1.0),
        ({"$if": [{"price": {"$gt": 4}}, 1, "none"]}, None),
        ({"$if": [{"none": {"$ne": 1}}, {"$neg": "$score"}, {"$div": [0, 0]}]}, -0.5),
    ],
)
def test_a_value_is_what_the_operations_give(document: Any, value: float | None) -> None:
    found = value_of(document, ROW, EXACT)
    assert found == value
    finite = value is not None and math.isfinite(value)
    assert rank_of(document, ROW, EXACT) == (value if finite else None)


def test_the_functions_are_rounded_to_the_nearest_float() -> None:
    assert EXACT.log2(8.0) == 3.0
    assert EXACT.log2(2.0**-1074) == -1074.0
    assert EXACT.exp(-745.2) == 0.0
    assert EXACT.exp(-745.0) == 2.0**-1074
    assert EXACT.exp(709.9) == math.inf
    assert EXACT.log(math.inf) == math.inf
    assert EXACT.pow(2.0, -1074.0) == 2.0**-1074
    assert EXACT.pow(-2.0, 1023.0) == -(2.0**1023)
    assert EXACT.pow(-0.0, -3.0) == -math.inf
    assert EXACT.pow(-math.inf, 3.0) == -math.inf
    assert EXACT.pow(1e300, 1e300) == math.inf
    assert math.isnan(EXACT.pow(math.nan, 0.0))
    with mpmath.workprec(100):
        assert nearest(mpmath.mpf(1) + mpmath.mpf(2) ** -53) == 1.0
        assert nearest(-(mpmath.mpf(2) ** 1024)) == -math.inf


def test_distances_are_in_units_of_the_last_place() -> None:
    assert ulps_between(1.0, 1.0) == 0
    assert ulps_between(1.0 + 2**-52, 1.0) == 1
    assert ulps_between(math.nan, math.nan) == 0
    assert ulps_between(math.inf, 1.0) == math.inf
