"""Arrow arrays of any type as the values that JSON has: what a field holds becomes metadata.

* Whole numbers, booleans and text are themselves; of floats, NaN is null, as null is.
* A timestamp or a date is text (ISO 8601, in UTC where it has a time zone), or with
  ``times="seconds"`` Unix seconds; a duration is seconds, a time of day text or seconds.
* A decimal is a number where its type has at most 15 digits, as each of these is one float; else
  text, unless ``as_json`` is told that every value of the field is ``exact``.
* Bytes are base64. A struct, and a map with keys of text, is an object; any other map a list of
  pairs.

The arrays were validated: their values can be touched. Nothing here needs pandas, or a table of
time zones, as ``to_pylist`` does for some types.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .arrow_library import pyarrow
from .fields import Times, distinct

#: Decimals of so many digits are told apart by float64.
EXACT_DIGITS: Final = 15
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_SECONDS: Final = 86_400
_UUID: Final = "arrow.uuid"


def plain_type(kind: Any) -> Any:
    """The type of the values: of a dictionary, run-end encoding or extension, what is inside."""
    arrow = pyarrow()
    while True:
        if isinstance(kind, arrow.BaseExtensionType):
            if kind.extension_name == _UUID:
                return arrow.string()
            kind = kind.storage_type
        elif arrow.types.is_dictionary(kind) or arrow.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def plain(array: Any) -> Any:
    """The values themselves: as ``plain_type``, for an array."""
    arrow = pyarrow()
    while True:
        kind = array.type
        if isinstance(kind, arrow.BaseExtensionType):
            if kind.extension_name == _UUID:
                return _uuids(array.storage)
            array = array.storage
        elif arrow.types.is_dictionary(kind):
            array = _decoded(array)
        elif arrow.types.is_run_end_encoded(kind):
            array = arrow.compute.run_end_decode(array)
        else:
            return array


def _decoded(array: Any) -> Any:
    """The values of a dictionary array; of views too, as polars writes categories."""
    arrow, of = pyarrow(), array.type.value_type
    views = {arrow.string_view(): arrow.large_string(), arrow.binary_view(): arrow.large_binary()}
    if of in views:
        values = array.dictionary.cast(views[of])
        array = arrow.DictionaryArray.from_arrays(array.indices, values)
    return array.dictionary_decode()


def is_text(kind: Any) -> bool:
    """Whether a type is text, in any of its layouts."""
    types = pyarrow().types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_list(kind: Any) -> bool:
    """Whether a type is lists, in any of their layouts."""
    types = pyarrow().types
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view,
             types.is_large_list_view)  # fmt: skip
    return any(test(kind) for test in tests)


def is_binary(kind: Any) -> bool:
    """Whether a type is bytes, in any of their layouts."""
    types = pyarrow().types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary,
             types.is_binary_view)  # fmt: skip
    return any(test(kind) for test in tests)


def lengths(array: Any) -> NDArray[np.int64]:
    """How long each list of a list array is; 0 for null."""
    counted = pyarrow().compute.list_value_length(array).fill_null(0)
    return np.asarray(counted.to_numpy(zero_copy_only=False), np.int64)


def as_json(array: Any, times: Times = "text", *, exact: bool = False) -> list[Any]:
    """The values of ``array``, None for null."""
    array = plain(array)
    kind, types = array.type, pyarrow().types
    if types.is_null(kind):
        return [None] * len(array)
    if types.is_struct(kind):
        return _structs(array, times)
    if types.is_map(kind):
        return _maps(array, times)
    if is_list(kind):
        return _lists(array, times)
    if types.is_union(kind):
        # One by one: each value has a type of its own.
        one_each = (pyarrow().repeat(one.value, 1) if one.is_valid else None for one in array)
        return [None if one is None else as_json(one, times)[0] for one in one_each]
    if types.is_floating(kind):
        return _floats(array)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _moments(array, times)
    if types.is_time(kind):
        return _times_of_day(array, times)
    if types.is_duration(kind):
        return _masked(_seconds(_whole(array), _PER_SECOND[kind.unit]).tolist(), array)
    if types.is_decimal(kind):
        number = float if exact or kind.precision <= EXACT_DIGITS else str
        return [None if one is None else number(one) for one in array.to_pylist()]
    if is_binary(kind):
        values = array.to_pylist()
        return [None if one is None else base64.b64encode(one).decode() for one in values]
    if types.is_interval(kind):
        return [
            None if one is None
            else {"months": one.months, "days": one.days, "nanoseconds": one.nanoseconds}
            for one in array.to_pylist()
        ]  # fmt: skip
    found: list[Any] = array.to_pylist()
    return found


# -- nested -----------------------------------------------------------------------------------


def _structs(array: Any, times: Times) -> list[Any]:
    names = distinct([field.name for field in array.type])
    children = [as_json(child, times) for child in array.flatten()]
    if not children:
        return _masked([{} for _ in range(len(array))], array)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*children, strict=True)]
    return _masked(rows, array)


def _lists(array: Any, times: Times) -> list[Any]:
    values = as_json(array.flatten(), times)  # those of the lists that are not null
    stops = np.cumsum(lengths(array)).tolist()
    starts = [0, *stops[:-1]]
    return _masked([values[start:stop] for start, stop in zip(starts, stops, strict=True)], array)


def _maps(array: Any, times: Times) -> list[Any]:
    keys, values = as_json(array.keys, times), as_json(array.items, times)
    ends = array.offsets.to_numpy().tolist()
    is_object = is_text(plain_type(array.type.key_type))
    found: list[Any] = []
    for start, stop in itertools.pairwise(ends):
        pairs = zip(keys[start:stop], values[start:stop], strict=True)
        found.append(dict(pairs) if is_object else [list(pair) for pair in pairs])
    return _masked(found, array)


# -- leaves -----------------------------------------------------------------------------------


def _masked(values: list[Any], array: Any) -> list[Any]:
    """``values`` with None where ``array`` is null."""
    if not array.null_count:
        return values
    valid = array.is_valid().to_pylist()
    return [value if one else None for value, one in zip(values, valid, strict=True)]


def _floats(array: Any) -> list[Any]:
    values = np.asarray(array.to_numpy(zero_copy_only=False), np.float64)  # null is NaN here
    listed: list[Any] = values.tolist()
    for at in np.flatnonzero(np.isnan(values)).tolist():
        listed[at] = None
    return listed


def _whole(array: Any) -> NDArray[np.int64]:
    """What a time is stored as; 0 for null."""
    arrow = pyarrow()
    bits = arrow.int32() if array.type.bit_width == 32 else arrow.int64()
    stored = array.cast(bits).fill_null(0).to_numpy(zero_copy_only=False)
    return np.asarray(stored, np.int64)


def _seconds(values: NDArray[np.int64], per_second: int) -> NDArray[np.float64]:
    whole, rest = np.divmod(values, per_second)
    return whole + rest / per_second


def _moments(array: Any, times: Times) -> list[Any]:
    """Timestamps and dates."""
    kind, types = array.type, pyarrow().types
    values = _whole(array)
    if types.is_date64(kind):
        values = values // (1000 * _DAY_SECONDS)
    unit = "D" if types.is_date(kind) else kind.unit
    if times == "seconds":
        per_second = 1 if unit == "D" else _PER_SECOND[unit]
        scale = _DAY_SECONDS if unit == "D" else 1
        return _masked((_seconds(values, per_second) * scale).tolist(), array)
    zone = "" if unit == "D" or kind.tz is None else "+00:00"
    texts = np.datetime_as_string(values.astype(f"datetime64[{unit}]")).tolist()
    # The least integer is no moment for numpy.
    return _masked([None if one == "NaT" else _short(one) + zone for one in texts], array)


def _times_of_day(array: Any, times: Times) -> list[Any]:
    unit = array.type.unit
    values = _whole(array)
    if times == "seconds":
        return _masked(_seconds(values, _PER_SECOND[unit]).tolist(), array)
    of_day = values % (_DAY_SECONDS * _PER_SECOND[unit])
    texts = np.datetime_as_string(of_day.astype(f"datetime64[{unit}]")).tolist()
    return _masked([_short(one.partition("T")[2]) for one in texts], array)


def _short(text: str) -> str:
    """Without zeros at the end of a fraction: the same whatever unit it was stored in."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _uuids(storage: Any) -> Any:
    texts = [None if one is None else str(uuid.UUID(bytes=one)) for one in storage.to_pylist()]
    return pyarrow().array(texts, pyarrow().string())


# -- what floats hold -------------------------------------------------------------------------


def fits_column(array: Any) -> bool:
    """Whether every value of whole numbers or decimals is one that a column holds as it is."""
    array = plain(array)
    if pyarrow().types.is_decimal(array.type):
        values = [one for one in array.to_pylist() if one is not None]
        return all(one.is_finite() and Decimal(repr(float(one))) == one for one in values)
    least, most = pyarrow().compute.min_max(array).values()
    return _is_safe(least.as_py()) and _is_safe(most.as_py())


def _is_safe(value: int | None) -> bool:
    return value is None or -(2**53) < value < 2**53
