"""The fields of a subscription in a query string (PROTOCOL section 10): texts to JSON values.

What is a text in the table stays one; all else is JSON, and what is none is left a text, which the
readers of the table refuse by its field's name. Knows the table, no framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import orjson
from omendb_core.model.errors import BadRequest

from ..wire.fields import refuse_unknown, shown
from ..wire.opcodes import SUBSCRIPTION_KINDS, Field

StreamKind = Literal["live", "match", "feed", "novel", "stats"]
#: Kinds that are served as events; the path names them.
STREAM_KINDS: Final[tuple[StreamKind, ...]] = ("live", "match", "feed", "novel", "stats")
#: Named by the path, or by what an event stream is.
_NOT_GIVEN: Final = frozenset(("collection", "encoding"))
_TEXTS: Final = frozenset(("string", "name", "choice"))

#: kind -> the fields that a request for its stream may have.
STREAM_FIELDS: Final[dict[str, dict[str, Field]]] = {
    kind: {one.name: one for one in SUBSCRIPTION_KINDS[kind] if one.name not in _NOT_GIVEN}
    for kind in STREAM_KINDS
}


def fields_of_query(kind: str, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a query string. BadRequest for one that is unknown, or there twice.

    A list of words may be JSON, words with commas between them, or given word by word.
    """
    known = STREAM_FIELDS[kind]
    fields: dict[str, Any] = {}
    for name, text in given:
        field = known.get(name)
        if field is None:
            raise BadRequest(f"{shown(name)}: unknown field")
        if field.type == "include" and not text.startswith("["):
            words = fields.setdefault(name, [])
            if type(words) is list:
                words += filter(None, text.split(","))
        elif name in fields:
            raise BadRequest(f"{name}: given twice")
        else:
            fields[name] = text if field.type in _TEXTS else _value(text)
    return fields


def fields_of_body(kind: str, body: Any) -> dict[str, Any]:
    """The fields of a JSON body. BadRequest."""
    if type(body) is not dict:
        raise BadRequest("the body must be a JSON object")
    refuse_unknown(body, STREAM_FIELDS[kind])
    return body


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
