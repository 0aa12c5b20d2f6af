"""Fields that stand in the query of a request, by the wire's table: texts to values of JSON.

Only how a text is written is looked at here. Whether the value is right is for the wire, which
reads it as if it had come in the body, and names the field. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from omendb_core.model.errors import BadRequest

from ...wire.field_types import Field
from ...wire.fields import shown
from ...wire.opcodes import OPS, SUBSCRIPTION_KINDS

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
#: Parameters of one request: no op has as many fields.
_MOST: Final = 64
_AS_THEY_ARE: Final = frozenset({"string", "name", "choice", "producer"})
_INTEGERS: Final = frozenset({"integer", "k", "batch"})

#: Every field, by op or kind of subscription, that may stand in a query.
FIELDS: Final[Mapping[str, tuple[Field, ...]]] = {
    **{name: op.fields for name, op in OPS.items() if name != "subscribe"},
    **SUBSCRIPTION_KINDS,
}


def fields_of(op: str, *names: str) -> tuple[Field, ...]:
    """The rows of the table for these fields of an op, or kind of subscription."""
    found = {one.name: one for one in FIELDS[op]}
    return tuple(found[name] for name in names)


def read_query(query: bytes, fields: Iterable[Field]) -> dict[str, Any]:
    """The fields that a query holds, as JSON values. BadRequest."""
    known = {one.name: one for one in fields}
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST
        )
    except UnicodeDecodeError:
        raise BadRequest("the query: not UTF-8 where it is percent-encoded") from None
    except ValueError:
        raise BadRequest(f"the query: more than {_MOST} parameters") from None
    for name, text in pairs:
        if name not in known:
            raise BadRequest(f"{shown(name)}: unknown parameter")
        value = _value(text, known[name])
        if name not in values:
            values[name] = value
        elif known[name].type == "include":  # many clients write a list so
            values[name] += value
        else:
            raise BadRequest(f"{name}: stands twice")
    return values


def _value(text: str, field: Field) -> Any:
    if field.type in _AS_THEY_ARE:
        return text
    if field.type in _INTEGERS:
        return int(text) if _INTEGER.fullmatch(text) else text
    if field.type == "include" and not text.startswith("["):
        return [one.strip() for one in text.split(",")] if text else []
    if field.type == "id":
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{field.name}: not JSON: {error.msg}") from None
