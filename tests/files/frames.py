"""Tables as people have them, and what each value is as metadata: a model of the readers."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from hypothesis import strategies as st

#: Names that frames have: an index that pandas kept, blanks, umlauts, dots, what looks like ours.
NAMES = [
    "price", "my price", "größe", "__index_level_0__", "_x", "a.b", "a", "ids", "Vector", "x\ny",
    "数", "-", "9", "n" * 64, "n" * 65,
]  # fmt: skip
EPOCH = dt.datetime(1970, 1, 1)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Kind:
    """A type of fields: values for it (ints for what is stored as ints), what each one becomes, and
    the column that a field of values can be."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    as_json: Callable[[Any], Any] = lambda value: value
    column: Callable[[list[Any]], str | None] = lambda _: None
    #: What as_json is where times are asked for as seconds, if that is another.
    as_seconds: Callable[[Any], Any] | None = None


def safe(values: list[Any]) -> str | None:
    return "i64" if all(value is None or abs(value) < 2**53 for value in values) else None


def exact(values: list[Any]) -> str | None:
    whole = [value for value in values if value is not None]
    same = all(decimal.Decimal(repr(float(value))) == value for value in whole)
    return "f64" if same else None


def moment(unit: str, zone: str = "") -> Callable[[int], str]:
    def text(value: int) -> str:
        whole, rest = divmod(value, PER_SECOND[unit])
        digits = len(str(PER_SECOND[unit])) - 1
        fraction = f".{rest:0{digits}}".rstrip("0") if rest else ""
        return f"{(EPOCH + dt.timedelta(seconds=whole)).isoformat()}{fraction}{zone}"

    return text


def seconds(unit: str) -> Callable[[int], float]:
    return lambda value: value // PER_SECOND[unit] + value % PER_SECOND[unit] / PER_SECOND[unit]


def moments(unit: str) -> st.SearchStrategy[int]:
    # From 1900 to 2200: what nanoseconds hold.
    span = st.integers(-2_208_988_800, 7_258_118_400)
    parts = st.one_of(st.just(0), st.integers(0, PER_SECOND[unit] - 1))
    return st.tuples(span, parts).map(lambda both: both[0] * PER_SECOND[unit] + both[1])


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def number(column: str | None) -> Callable[[list[Any]], str | None]:
    return lambda _: column


def floats(width: Literal[16, 32, 64]) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_infinity=False)


def nan_is_null(value: Any) -> Any:
    return None if value is None or math.isnan(value) else value


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TEXT_IDS = TEXT.filter(lambda one: bool(one) and "\0" not in one)
DECIMALS = st.integers(-(10**9), 10**9).map(lambda one: decimal.Decimal(one).scaleb(-2))
WIDE = st.integers(-(10**30), 10**30).map(
    lambda one: decimal.Decimal(one).scaleb(-5, decimal.Context(prec=60))
)

KINDS: dict[str, Kind] = {
    "i8": Kind(pa.int8(), st.integers(-128, 127), column=number("i64")),
    "i64": Kind(pa.int64(), st.integers(-(2**63), 2**63 - 1), column=safe),
    "u64": Kind(pa.uint64(), st.integers(0, 2**64 - 1), column=safe),
    "f32": Kind(pa.float32(), floats(32), nan_is_null, number("f64")),
    "f64": Kind(pa.float64(), floats(64), nan_is_null, number("f64")),
    "bool": Kind(pa.bool_(), st.booleans(), column=number("bool")),
    "text": Kind(pa.string(), TEXT, column=number("str")),
    "large_text": Kind(pa.large_string(), TEXT, column=number("str")),
    "category": Kind(pa.dictionary(pa.int32(), pa.string()), TEXT, column=number("str")),
    "bytes": Kind(pa.binary(), st.binary(max_size=5), lambda one: base64.b64encode(one).decode()),
    "date": Kind(
        pa.date32(), st.integers(-25_000, 80_000),
        lambda one: (EPOCH + dt.timedelta(days=one)).date().isoformat(),
        as_seconds=lambda one: one * 86_400.0,
    ),
    **{
        f"at_{unit}": Kind(
            pa.timestamp(unit), moments(unit), moment(unit), as_seconds=seconds(unit)
        )
        for unit in ("ms", "us", "ns")
    },
    "at_utc": Kind(pa.timestamp("us", "UTC"), moments("us"), moment("us", "+00:00"),
                   as_seconds=seconds("us")),
    "at_berlin": Kind(pa.timestamp("ns", "Europe/Berlin"), moments("ns"), moment("ns", "+00:00"),
                      as_seconds=seconds("ns")),
    "span": Kind(pa.duration("us"), st.integers(-(2**40), 2**40), seconds("us"), number("f64")),
    "time": Kind(pa.time64("us"), st.integers(0, 86_399_999_999),
                 lambda one: moment("us")(one).partition("T")[2], as_seconds=seconds("us")),
    "decimal": Kind(pa.decimal128(12, 2), DECIMALS, float, number("f64")),
    "wide": Kind(pa.decimal128(38, 5), WIDE, column=exact),
    "list": Kind(pa.list_(pa.int64()), st.lists(st.integers(-9, 9) | st.none(), max_size=3)),
    "struct": Kind(
        pa.struct([("x", pa.int64()), ("y", pa.string())]),
        st.fixed_dictionaries({"x": st.integers(0, 9) | st.none(), "y": TEXT | st.none()}),
    ),
}  # fmt: skip
#: What only pyarrow writes.
ARROW_KINDS: dict[str, Kind] = {
    "f16": Kind(pa.float16(), floats(16), nan_is_null, number("f64")),
    "map": Kind(
        pa.map_(pa.string(), pa.int64()), st.dictionaries(TEXT, st.integers(0, 9), max_size=3)
    ),
    "large_list": Kind(pa.large_list(pa.string()), st.lists(TEXT, max_size=3)),
    "fixed_list": Kind(pa.list_(pa.int8(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    "null": Kind(pa.null(), st.none(), column=number(None)),
}  # fmt: skip
#: What only Arrow IPC has.
IPC_KINDS: dict[str, Kind] = {
    "at_s": Kind(pa.timestamp("s"), moments("s"), moment("s"), as_seconds=seconds("s")),
    "view": Kind(pa.string_view(), TEXT, column=number("str")),
    "bytes_view": Kind(
        pa.binary_view(), st.binary(max_size=20), lambda one: base64.b64encode(one).decode()
    ),
    "list_view": Kind(pa.list_view(pa.int64()), st.lists(st.integers(0, 9), max_size=3)),
    "days_ns": Kind(
        pa.month_day_nano_interval(), st.just(pa.MonthDayNano([1, 2, 3])),
        lambda _: {"months": 1, "days": 2, "nanoseconds": 3},
    ),
}  # fmt: skip
EVERY = {**KINDS, **ARROW_KINDS, **IPC_KINDS}


@dataclass(frozen=True)
class Field:
    name: str
    kind: str
    values: list[Any]

    @property
    def array(self) -> pa.Array:
        return pa.array(self.values, EVERY[self.kind].type)

    def expected(self, times: str) -> list[Any]:
        """The values as metadata; None: no key."""
        kind = EVERY[self.kind]
        as_json = kind.as_json
        if times == "seconds" and kind.as_seconds is not None:
            as_json = kind.as_seconds
        elif self.kind == "wide":
            as_json = float if exact(self.values) else str
        return [None if one is None else as_json(one) for one in self.values]

    def column(self, times: str) -> str | None:
        """The column that it can be, whatever its name."""
        kind = EVERY[self.kind]
        if times == "seconds" and kind.as_seconds is not None:
            return "f64"
        return kind.column(self.values)


@dataclass(frozen=True)
class Frame:
    vectors: list[list[float]]
    ids: list[Any] | None
    fields: list[Field]

    def table(self, vector: pa.DataType) -> pa.Table:
        arrays = [pa.array(self.vectors, vector)]
        names = ["vector"]
        if self.ids is not None:
            arrays.append(pa.array(self.ids))
            names.append("id")
        arrays += [field.array for field in self.fields]
        names += [field.name for field in self.fields]
        return pa.table(arrays, names=names)

    def metadata(self, times: str) -> list[dict[str, Any]]:
        """The metadata of each row."""
        columns = [(field.name, field.expected(times)) for field in self.fields]
        return [
            {name: values[at] for name, values in columns if values[at] is not None}
            for at in range(len(self.vectors))
        ]

    def columns(self, times: str) -> dict[str, str]:
        """What can be columns, whatever their names."""
        found = {field.name: field.column(times) for field in self.fields}
        return {name: column for name, column in found.items() if column is not None}


@st.composite
def frames(draw: st.DrawFn, kinds: dict[str, Kind], *, nulls: bool = True) -> Frame:
    count = draw(st.integers(1, 7))
    dim = draw(st.integers(1, 3))
    element = st.floats(-100, 100, width=32)
    vectors = st.lists(
        st.lists(element, min_size=dim, max_size=dim), min_size=count, max_size=count
    )
    ids: st.SearchStrategy[Any] = st.one_of(
        st.none(),
        st.lists(st.integers(0, 2**63 - 1), min_size=count, max_size=count),
        st.lists(TEXT_IDS, min_size=count, max_size=count),
    )
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    fields = []
    for name in names:
        kind = draw(st.sampled_from(sorted(kinds)))
        values = kinds[kind].values | st.none() if nulls else kinds[kind].values
        fields.append(Field(name, kind, draw(st.lists(values, min_size=count, max_size=count))))
    return Frame(draw(vectors), draw(ids), fields)
