"""Values of other libraries and of none, as arguments: what is no text, no number, no vector."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np


class Number(enum.IntEnum):
    THREE = 3


class Word(str, enum.Enum):  # noqa: UP042
    A = "a"


class Text(str):
    pass


class Tensor:
    """As torch's and others': no sequence, an array on request."""

    def __init__(self, values: Any) -> None:
        self._array = np.array(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._array if dtype is None else self._array.astype(dtype)


class OnADevice:
    """As a tensor on another device, or one that wants a gradient."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("cannot be converted; move it to the host first")


class Exchanged:
    """What has nothing but DLPack."""

    def __init__(self, values: Any) -> None:
        self._array = np.array(values, np.float32)

    def __dlpack__(self, **given: Any) -> Any:
        return self._array.__dlpack__(**given)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


MISSING = type("NAType", (), {"__module__": "pandas._libs.missing"})()
HALF = "\ud83d"
MASKED = np.ma.masked_array([1.0, 2.0], mask=[0, 1])

#: None of these is text, a number, a list, a mapping.
STRANGE: list[Any] = [
    object(), b"bytes", bytearray(b"b"), 1j, Decimal("1"), Fraction(1, 2), datetime.datetime.now(),
    np.datetime64("2020-01-01"), {1, 2}, np.ma.masked, np.void(b"ab"), lambda: 1, MISSING,
]  # fmt: skip
NO_TEXT: list[Any] = [*STRANGE, 5, 1.5, True, ["a"], {"a": 1}, np.int64(1), HALF]
NO_INTEGER: list[Any] = [
    *STRANGE, "5", 1.0, 1.5, True, np.True_, [1], np.array([1]), float("nan"), 10**30, -1, None,
    np.float32(1), np.ma.masked_array(5, mask=True), np.array(True),
]  # fmt: skip
NO_NUMBER: list[Any] = [
    *STRANGE, "5", True, np.True_, [1.0], np.array([1.0]), float("nan"), float("-inf"), 10**400,
    np.float32("inf"), np.longdouble("1e400"), np.ma.masked_array(5.0, mask=True),
]  # fmt: skip
NO_VECTOR: list[Any] = [
    object(), b"12345678", bytearray(8), memoryview(b"1234"), "ab", {1.0: 2, 2: 3}, {1.0, 2.0},
    [True, False], [1.0, True], np.array([True, False]), [1.0, None], [1.0, "2"], ["1", "2"], [1j,
    2],
    np.array([1j, 2]), np.array(["1", "2"]), np.array([b"1", b"2"]), [Decimal(1), Decimal(2)],
    [Fraction(1), 2], np.array([1, 2], "M8[s]"), np.array([1, 2], "m8[s]"),
    np.zeros(2, [("a", "f4"), ("b", "f4")]), np.zeros((1, 1, 2)), np.float64(1), np.array(1.0), 5,
    MASKED, [MASKED], [1.0, np.ma.masked], OnADevice(), [OnADevice()], Tensor([True, False]),
    iter([1.0, 2.0]), [[[1.0, 2.0]]], [1.0, float("nan")], [float("inf"), float("-inf")],
    np.array([np.inf, -np.inf]), np.array([0x7FA00000, 0], "u4").view("f4"),
    np.array([0x7FF4 << 48, 0], "u8").view("f8"), [10**400, 1], np.array([1e39, 0]),
    np.array(["1e400", 0], np.longdouble), np.array([1, None]), [MISSING, 1.0], [[1.0, 2.0], 3.0],
]  # fmt: skip
NO_IDS: list[Any] = [
    *[one for one in STRANGE if not isinstance(one, np.void)], 5, True, "ab", memoryview(b"ab"),
    [1.0], [True], [None], [b"a"], [Decimal(1)], [-1], [2**64], [[1]], [HALF], [1, HALF],
    np.array([1.0]), np.array([True]), np.array([-1]), np.array([[1]]), np.array([b"a"]),
    np.array(5), np.array([1], "M8[s]"), np.ma.masked_array([5], mask=[1]), {1: 2}, iter([1]),
    [np.ma.masked], [np.float32(1)], [datetime.date.today()], [MISSING],
]  # fmt: skip
NO_FILTER: list[Any] = [
    *[one for one in STRANGE if one is not MISSING], "price", 5, ["a"], [("price", 1)], True,
    {1: 2}, {"n": 1j}, {"n": float("nan")}, {"n": {"$lt": float("inf")}}, {"n": 2**64},
    {"n": Decimal(1)}, {"n": datetime.date.today()}, {"s": b"a"}, {"s": HALF}, {HALF: 1},
    {"n": {"$in": {1, 2}}}, {"n": {"$in": np.ma.masked_array([1, 2], mask=[0, 1])}},
    {"n": object()}, {"n": {"$in": [1, object()]}},
]  # fmt: skip
NO_METADATA: list[Any] = [
    *[{"x": one} for one in STRANGE if one is not np.ma.masked and one is not MISSING],
    {"x": float("nan")}, {"x": float("inf")}, {"x": [1, {"y": -float("inf")}]},
    {"x": np.float32("nan")},
    {"x": 2**64}, {"x": -(2**63) - 1}, {"x": [10**400]}, {"x": HALF}, {HALF: 1}, {1: 2}, {None: 1},
    {"x": {1: 2}}, {"x": b"a"}, {"x": np.array([1.0, np.nan])}, {"x": MASKED},
    {"x": np.array([1j])},
    {"n": None, "x": float("nan")}, {"null": 1.0, "x": float("inf")}, 5, "text", [1], b"a",
]  # fmt: skip


async def made(db: Any) -> None:
    await db.create("items", dim=2, capacity=100, metric="dot",
                    columns={"n": "i64", "f": "f64", "s": "str", "b": "bool"})  # fmt: skip
    await db.create("names", dim=2, capacity=100, metric="dot", ids="str")


async def step(subscription: Any) -> None:
    await subscription.__aenter__()
