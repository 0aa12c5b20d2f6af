"""Typed readers of JSON fields: a value and its row of the table to a checked value, or an error.

``read_fields`` holds a JSON object to a list of ``Field`` rows of ``opcodes.py``: nothing unknown,
nothing missing, every type and bound as the table says. Error messages name the field and never
repeat what a client sent beyond a short piece of a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from omendb_core.model.errors import (
    BadFilter,
    BadId,
    BadK,
    BadName,
    BadRank,
    BadRequest,
    BadVector,
    OmenError,
    TooLarge,
)
from omendb_core.model.types import F32, Include

from . import examples, vectors
from .limits import MAX_SHARDS, Limits
from .opcodes import MAX_NAME_LENGTH, MAX_PRODUCER_BYTES, TRACEPARENT, Field, FieldType

Reader: TypeAlias = Callable[[Any, Field, Limits], Any]

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_LENGTH - 1}}}")
_SHOWN_LENGTH: Final = 40


def shown(text: str) -> str:
    """A client's text, short enough for a message."""
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"


def refuse_unknown(body: Mapping[str, Any], known: Iterable[str], row: int | None = None) -> None:
    """Raise BadRequest for a field of ``body`` that is not ``known``."""
    unknown = body.keys() - known
    if unknown:
        raise BadRequest(f"{shown(min(unknown))}: unknown field", row=row)


def check_traceparent(body: Mapping[str, Any]) -> None:
    """BadRequest where it is no string; what it says is for who traces."""
    if type(body.get(TRACEPARENT, "")) is not str:
        raise BadRequest(f"{TRACEPARENT}: must be a string")


def read_fields(body: Mapping[str, Any], fields: Iterable[Field], limits: Limits) -> dict[str, Any]:
    """The values of ``fields`` in ``body`` by their attribute; absent optional ones left out.

    Unknown fields are the caller's (``refuse_unknown``). Raises OmenError naming the field.
    """
    values: dict[str, Any] = {}
    for field in fields:
        if field.name in body:
            values[field.target] = READERS[field.type](body[field.name], field, limits)
        elif field.required:
            raise BadRequest(f"{field.name}: missing")
    return values


def most_of(field: Field, limits: Limits) -> int:
    """The upper bound of a field, the server's where the table names a limit."""
    return getattr(limits, field.most) if isinstance(field.most, str) else field.most


def _over(field: Field, most: int, what: str = "") -> OmenError:
    text = f"{field.name}: at most {most}{what}"
    if isinstance(field.most, str):
        return TooLarge(f"{text} ({field.most})")
    return BadRequest(text)


def _string(value: Any, field: Field, limits: Limits) -> str:
    if type(value) is not str:
        raise BadRequest(f"{field.name}: must be a string")
    return value


def _name(value: Any, field: Field, limits: Limits) -> str:
    return check_name(_string(value, field, limits), field.name)


def check_name(value: str, what: str) -> str:
    """A name of a collection or column (PROTOCOL section 3). Raises BadName."""
    if _NAME.fullmatch(value) is None:
        raise BadName(
            f"{what}: 1 to {MAX_NAME_LENGTH} of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
    return value


def _choice(value: Any, field: Field, limits: Limits) -> str:
    if type(value) is not str or value not in field.choices:
        raise BadRequest(f"{field.name}: must be one of {', '.join(field.choices)}")
    return value


def _integer(value: Any, field: Field, limits: Limits) -> int:
    if type(value) is not int:
        raise BadRequest(f"{field.name}: must be an integer")
    if value < field.least:
        raise BadRequest(f"{field.name}: at least {field.least}")
    most = most_of(field, limits)
    if value > most:
        raise _over(field, most)
    return value


def _seqs(value: Any, field: Field, limits: Limits) -> list[int]:
    if type(value) is not list or not 1 <= len(value) <= MAX_SHARDS:
        raise BadRequest(f"{field.name}: must be a list of 1 to {MAX_SHARDS} integers")
    return [_integer(one, field, limits) for one in value]


def _k(value: Any, field: Field, limits: Limits) -> int:
    return check_k(value, limits)


def check_k(value: Any, limits: Limits) -> int:
    """``k`` from 1 to ``max_k``. Raises BadK."""
    if type(value) is not int or not 1 <= value <= limits.max_k:
        raise BadK(f"k: must be an integer from 1 to {limits.max_k}")
    return value


def _number(value: Any, field: Field, limits: Limits) -> float:
    if type(value) is not int and type(value) is not float:
        raise BadRequest(f"{field.name}: must be a number")
    return float(value)


def _threshold(value: Any, field: Field, limits: Limits) -> float | None:
    return None if value is None else _number(value, field, limits)


def _ttl(value: Any, field: Field, limits: Limits) -> float | None:
    if value is None:
        return None
    seconds = _number(value, field, limits)
    if not 0 < seconds <= most_of(field, limits):
        raise BadRequest(f"{field.name}: must be above 0 and at most {field.most} seconds, or null")
    return seconds


def _object(value: Any, field: Field, limits: Limits) -> dict[str, Any]:
    if type(value) is not dict:
        raise BadRequest(f"{field.name}: must be an object")
    return value


def _filter(value: Any, field: Field, limits: Limits) -> dict[str, Any]:
    if type(value) is not dict:
        raise BadFilter(f"{field.name}: must be an object")
    return value


def _include(value: Any, field: Field, limits: Limits) -> Include:
    known = type(value) is list and all(type(one) is str and one in field.choices for one in value)
    if not known:
        raise BadRequest(f"{field.name}: must be a list out of {', '.join(field.choices)}")
    return Include(metadata="metadata" in value, vector="vector" in value)


def _columns(value: Any, field: Field, limits: Limits) -> dict[str, str]:
    columns = _object(value, field, limits)
    if len(columns) > most_of(field, limits):
        raise TooLarge(f"{field.name}: at most {field.most}")
    for name, type_ in columns.items():
        check_name(name, f"{field.name}.{shown(name)}")
        if type(type_) is not str or type_ not in field.choices:
            raise BadRequest(f"{field.name}.{name}: must be one of {', '.join(field.choices)}")
    return columns


def _vector(value: Any, field: Field, limits: Limits) -> F32:
    return vectors.from_list(value, field.name)


def _vectors(value: Any, field: Field, limits: Limits) -> F32:
    """``value``: what JSON has, or an array of it (``long_text.py``)."""
    is_array = isinstance(value, np.ndarray)
    if not is_array and (type(value) is not list or not value):
        raise BadVector(f"{field.name}: must be a list of at least one list of numbers")
    if len(value) > most_of(field, limits):
        raise _over(field, most_of(field, limits))
    return value if is_array else vectors.from_lists(value, field.name)


def _id(value: Any, field: Field, limits: Limits) -> int | str:
    if type(value) is not int and type(value) is not str:
        raise BadId(f"{field.name}: must be an id")
    return value


def _list(value: Any, field: Field, limits: Limits) -> list[Any]:
    if type(value) is not list:
        raise BadRequest(f"{field.name}: must be a list")
    if len(value) < field.least:
        raise BadRequest(f"{field.name}: must not be empty")
    if len(value) > most_of(field, limits):
        raise _over(field, most_of(field, limits))
    return value


def _producer(value: Any, field: Field, limits: Limits) -> str:
    text = _string(value, field, limits)
    if not 1 <= len(text.encode()) <= MAX_PRODUCER_BYTES:
        raise BadRequest(f"{field.name}: must have 1 to {MAX_PRODUCER_BYTES} bytes of UTF-8")
    return text


def _examples(value: Any, field: Field, limits: Limits) -> list[Any]:
    return examples.read(_list(value, field, limits), field.name)


def _expression(value: Any, field: Field, limits: Limits) -> Any:
    """As it came: ``ranking`` reads it. A null would be no expression."""
    if value is None:
        raise BadRank(f"{field.name}: must be a number, a name or an operator")
    return value


#: Of ``unless_near``.
_UNLESS_NEAR: Final = (Field("score", "number", required=True), Field("filter", "filter"))


def _unless_near(value: Any, field: Field, limits: Limits) -> dict[str, Any]:
    """``score``, and ``filter`` if there is one."""
    body = _object(value, field, limits)
    try:
        refuse_unknown(body, [one.name for one in _UNLESS_NEAR])
        return read_fields(body, _UNLESS_NEAR, limits)
    except OmenError as error:
        raise type(error)(f"{field.name}.{error.message}") from None


def check_needs(values: Mapping[str, Any]) -> None:
    """``negative`` and ``at`` say nothing alone (PROTOCOL section 5). Raises BadRequest."""
    if "negative" in values and "positive" not in values:
        raise BadRequest("negative: needs positive")
    if "at" in values and values.keys().isdisjoint(("decay", "rank")):
        raise BadRequest("at: needs decay or rank")


def check_version(values: Mapping[str, Any]) -> None:
    """Versions compare within an epoch (PROTOCOL section 5). Raises BadRequest."""
    if "min_version" in values and "epoch" not in values:
        raise BadRequest("epoch: missing; min_version needs it")


def check_target(values: Mapping[str, Any], *, required: bool) -> None:
    """A vector and examples stand in the same place (PROTOCOL section 6). Raises BadRequest."""
    check_needs(values)
    if "vectors" in values and "positive" in values:
        raise BadRequest("vector: does not go together with positive")
    if required and values.keys().isdisjoint(("vectors", "positive")):
        raise BadRequest("vector: missing")


def check_batch_pair(values: Mapping[str, Any]) -> None:
    """``producer`` and ``batch`` go together (PROTOCOL section 4). Raises BadRequest."""
    if ("producer" in values) != ("batch" in values):
        absent = "batch" if "producer" in values else "producer"
        raise BadRequest(f"{absent}: missing; producer and batch go together")


def check_limit_of(values: Mapping[str, Any]) -> None:
    """``limit`` is of ``by`` (PROTOCOL section 5). Raises BadRequest."""
    if "limit" in values and "by" not in values:
        raise BadRequest("limit: says how many values of by are listed, and there is no by")


READERS: Final[Mapping[FieldType, Reader]] = {
    "string": _string,
    "name": _name,
    "choice": _choice,
    "integer": _integer,
    "k": _k,
    "number": _number,
    "threshold": _threshold,
    "ttl": _ttl,
    "filter": _filter,
    "include": _include,
    "columns": _columns,
    "vector": _vector,
    "vectors": _vectors,
    "id": _id,
    "ids": _list,
    "rows": _list,
    "producer": _producer,
    "batch": _integer,
    "examples": _examples,
    "object": _object,
    "expression": _expression,
    "unless_near": _unless_near,
    "seqs": _seqs,
}
