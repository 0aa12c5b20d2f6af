"""The protocol as an AsyncAPI 3.0 document, out of the tables that the codec goes by.

``python -m tests.project.asyncapi.document`` writes ``omendb_ws/web/asyncapi.yaml`` anew; a test
tells when that is due. What the tables do not know (what a reply's field means) stands in
PROTOCOL.md, to which the descriptions refer by section. Examples are the golden frames of
``tests/vectors``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml
from omendb_core.ranking.rank_parser import OPERATORS
from omendb_core.ranking.shape_parser import LEAST_HALF_LIFE_SECONDS, MOST_HALF_LIFE_SECONDS

from omendb_ws._version import VERSION
from omendb_ws.http.routes import WEBSOCKET_PATH
from omendb_ws.wire.opcodes import (
    CLOSE_CODES,
    ERRORS,
    HEADER_FIELDS,
    KINDS,
    LEAVE_REASONS,
    LIMITS,
    OPS,
    PROTOCOL,
    RIGHTS,
    SERVER_STATS,
    SUBSCRIPTION_KINDS,
    Field,
    Kind,
    Op,
    Section,
)

RANK_OPERATORS: Final = (*OPERATORS, "$if", "$default")
VECTORS: Final = Path(__file__).resolve().parents[2] / "vectors"
PATH: Final = Path(__file__).resolve().parents[3] / "omendb_ws" / "web" / "asyncapi.yaml"

Json = dict[str, Any]

_INTEGER: Final[Json] = {"type": "integer", "minimum": 0}
_ID: Final[Json] = {"type": ["integer", "string"]}
_VECTOR: Final[Json] = {"type": "array", "items": {"type": "number"}}
_ROW: Final[Json] = {
    "type": "object",
    "properties": {
        "id": _ID,
        "seq": _INTEGER,
        "score": {"type": "number"},
        "metadata": {"type": "object"},
        "vector": _VECTOR,
        "rank": {"type": ["number", "null"]},
        "weight": {"type": ["number", "null"]},
    },
    "required": ["id", "seq"],
}


def _members(properties: Json, required: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }


def _bounded(least: float, most: float) -> Json:
    return {"type": "number", "minimum": least, "maximum": most}


_ROWS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/row"}}
_NEW_ROWS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/new_row"}}
_PERCENTILES: Final[Json] = {
    "type": "object",
    "additionalProperties": {"type": ["number", "null"]},
}
#: type of a field -> its schema, bounds not counted.
_TYPES: Final[dict[str, Json]] = {
    "string": {"type": "string"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "choice": {"type": "string"},
    "integer": {"type": "integer"},
    "k": {"type": "integer", "minimum": 1},
    "number": {"type": "number"},
    "threshold": {"type": ["number", "null"]},
    "ttl": {"type": ["number", "null"], "exclusiveMinimum": 0},
    "filter": {"type": "object"},
    "include": {"type": "array", "items": {"enum": ["metadata", "vector"]}},
    "columns": {"type": "object", "additionalProperties": {"enum": ["f64", "i64", "bool", "str"]}},
    "vector": _VECTOR,
    "vectors": {"type": "array", "minItems": 1, "items": _VECTOR},
    "id": _ID,
    "ids": {"type": "array", "items": _ID},
    "rows": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    "producer": {"type": "string", "minLength": 1},
    "batch": {"type": "integer", "minimum": 1},
    "examples": {"type": "array", "items": {"oneOf": [_ID, _VECTOR]}},
    "object": {"type": "object"},
    "expression": {"type": ["number", "string", "object"]},
    "unless_near": _members({"score": {"type": "number"}, "filter": {"type": "object"}}, "score"),
}
#: Fields of type ``object`` and ``expression`` -> their schema, which ops share.
_SHAPES: Final[dict[str, Json]] = {
    "decay": _members(
        {
            "half_life": _bounded(LEAST_HALF_LIFE_SECONDS, MOST_HALF_LIFE_SECONDS),
            "column": {"type": "string"},
        },
        "half_life",
    ),
    "rank": {
        "description": "An expression: a number, the name of a column, `$score`, `$age`, or an"
        f" object whose one key is an operator, out of {', '.join(RANK_OPERATORS)}.",
        "type": ["number", "string", "object"],
        "maxProperties": 1,
    },
    "group": _members(
        {"by": {"type": "string"}, "size": {"type": "integer", "minimum": 1, "default": 1}}, "by"
    ),
    "spread": _members({"max_similarity": {"type": "number"}}, "max_similarity"),
    "mmr": _members(
        {"lambda": _bounded(0, 1), "candidates": {"type": "integer", "minimum": 1}}, "lambda"
    ),
}
#: Fields of replies and pushes by name; every other one is a number.
_ANSWERED: Final[dict[str, Json]] = {
    "by": {"type": "array", "items": {"$ref": "#/components/schemas/count_of_value"}},
    "collection": {"type": "string"},
    "collections": {"type": "array", "items": {"$ref": "#/components/schemas/description"}},
    "columns": _TYPES["columns"],
    "duplicate": {"type": "boolean"},
    "durability": {"enum": ["memory", "everysec", "always"]},
    "epoch": {"type": "string"},
    "expires_in_s": {"type": ["number", "null"]},
    "ids": {"enum": ["auto", "u64", "str"]},
    "metric": {"enum": ["cosine", "dot", "l2"]},
    "near": {"type": ["array", "null"], "items": _ID},
    "skipped": {"type": ["array", "null"], "items": _INTEGER},
    "results": {"type": "array"},
    "grants": {"type": "array", "items": {"$ref": "#/components/schemas/grant"}},
    "rights": {"type": "array", "items": {"type": "string"}},
    "rows": {"type": ["array", "integer"]},
    "tenant": {"type": ["string", "null"]},
    "unavailable": {"type": "array", "items": {"$ref": "#/components/schemas/unavailable"}},
    "limits": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    "tenants": {"type": "object"},
    "use": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    "ttl": {"type": ["number", "null"]},
    "first_seq": {"type": ["integer", "null"]},
    "last_seq": {"type": ["integer", "null"]},
    "search_ms": _PERCENTILES,
    "add_ms": _PERCENTILES,
    "push_ms": _PERCENTILES,
}


def document() -> Json:
    """The whole document."""
    messages = {**_text_requests(), **_text_replies(), **_events(), **_binary()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "OmenDB-WS",
            "version": VERSION,
            "description": "Live vector search over a WebSocket: a sliding window over a stream of"
            f" vectors, searched exactly, its answers pushed. The protocol is {PROTOCOL};"
            " PROTOCOL.md says what everything means.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "localhost:8765",
                "protocol": "ws",
                "description": f"Subprotocol {PROTOCOL}. Close codes: "
                + "; ".join(f"{code} {meaning}" for code, meaning in CLOSE_CODES.items()),
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {
            "connection": {
                "address": WEBSOCKET_PATH,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": _operations(messages),
        "components": {
            "schemas": _schemas(),
            "messages": messages,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A header, or the op `auth` within 5 s of `hello`.",
                }
            },
        },
    }


def text() -> str:
    """The document as YAML."""
    dumped: str = yaml.dump(document(), sort_keys=False, allow_unicode=True, width=100)
    return dumped


# -- operations -------------------------------------------------------------------------------


def _operations(messages: Iterable[str]) -> Json:
    """One for each op and binary request, with its reply, and one for all pushes."""
    channel = {"$ref": "#/channels/connection"}

    def told(*names: str) -> list[Json]:
        return [{"$ref": f"#/channels/connection/messages/{name}"} for name in names]

    found: Json = {}
    for op in OPS.values():
        found[op.name] = {
            "action": "receive",
            "channel": channel,
            "summary": f"Right: {op.right}. PROTOCOL section 2.",
            "messages": told(op.name),
            "reply": {"channel": channel, "messages": told(f"{op.name}_ok", "error")},
        }
    answers = {"ADD": "ADDED", "SEARCH": "RESULTS", "SUBSCRIBE": "RESULTS", "MOVE": "RESULTS"}
    for request, answer in answers.items():
        found[f"{request.lower()}_binary"] = {
            "action": "receive",
            "channel": channel,
            "summary": "PROTOCOL section 7.",
            "messages": told(request),
            "reply": {"channel": channel, "messages": told(answer, "error")},
        }
    pushes = [*(name for name in messages if name.endswith("_event")), "LIVE", "ROWS"]
    found["push"] = {
        "action": "send",
        "channel": channel,
        "summary": "What the server says unasked. PROTOCOL sections 1, 2 and 6.",
        "messages": told(*pushes),
    }
    return found


# -- text messages ------------------------------------------------------------------------------


def _object(properties: Json, required: Iterable[str], *, is_open: bool) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": is_open,
    }


def _schema(one: Field) -> Json:
    if one.name in _SHAPES:
        return {"$ref": f"#/components/schemas/{one.name}"}
    schema = dict(_TYPES[one.type])
    if one.choices and schema["type"] == "string":
        schema["enum"] = list(one.choices)
    if one.type == "integer":
        schema["minimum"] = one.least
    most = LIMITS[one.most].default if isinstance(one.most, str) else one.most
    if schema["type"] == "integer":
        schema["maximum"] = most
    if isinstance(one.most, str):
        schema["description"] = f"At most {one.most}, by default {most}."
    if one.type == "examples":
        schema |= {"minItems": one.least, "maxItems": most}
    return schema


#: What a live query is near to.
_TARGETS: Final = [{"required": ["vector"]}, {"required": ["positive"]}]


def _text_requests() -> Json:
    found = {}
    for op in OPS.values():
        properties: Json = {
            "id": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
            "op": {"const": op.name},
            **{one.name: _schema(one) for one in op.fields},
        }
        required = ["id", "op", *(one.name for one in op.fields if one.required)]
        payload = _object(properties, required, is_open=False)
        if op.one_of:
            payload["oneOf"] = [{"required": [name]} for name in op.one_of]
        if op.name == "move":
            payload["not"] = {"required": ["vector", "positive"]}
            payload["minProperties"] = len(required) + 1
        if op.name == "count":
            payload["dependentRequired"] = {"limit": ["by"]}
        if op.name == "subscribe":
            payload = {"oneOf": _by_kind({"id": properties["id"], "op": properties["op"]})}
        found[op.name] = _message(op.name, payload, _golden(f"text-{op.name}"))
    return found


def _by_kind(common: Json) -> list[Json]:
    """``subscribe`` for each kind of subscription."""
    return [
        _object(
            {**common, "kind": {"const": kind}, **{one.name: _schema(one) for one in fields}},
            ("id", "op", "kind", *(one.name for one in fields if one.required)),
            is_open=False,
        )
        | ({"oneOf": _TARGETS} if kind == "live" else {})
        for kind, fields in SUBSCRIPTION_KINDS.items()
    ]


def _text_replies() -> Json:
    found = {}
    for op in OPS.values():
        ok = _object(_answered(op), (), is_open=True)
        payload = _object({"id": _INTEGER, "ok": ok}, ("id", "ok"), is_open=False)
        found[f"{op.name}_ok"] = _message(f"{op.name}_ok", payload, _examples_of(op))
    error = {"$ref": "#/components/schemas/error"}
    payload = _object({"id": _INTEGER, "error": error}, ("id", "error"), is_open=False)
    examples = [*_golden("text-error"), *_golden("text-error-expected")]
    return {**found, "error": _message("error", payload, examples)}


def _answered(op: Op) -> Json:
    properties = {name: _ANSWERED.get(name, {"type": "number"}) for name in op.reply}
    if op.name in ("move", "subscribe"):
        properties["results"] = _ROWS
    return properties


def _examples_of(op: Op) -> list[Json]:
    golden = {
        "ping": ["text-ok"],
        "add": ["text-added", "text-added-duplicate", "text-added-compared"],
        "search": ["text-results", "text-results-lists"],
        "get": ["text-found"],
        "count": ["text-ok", "text-counted-by"],
    }
    return [example for name in golden.get(op.name, ()) for example in _golden(name)]


def _event(name: str, required: Json, optional: Json | None = None) -> Json:
    properties = {"event": {"const": name}, **required, **(optional or {})}
    return _object(properties, ("event", *required), is_open=True)


def _events() -> Json:
    sub = {"sub": _INTEGER}
    version = {"version": _INTEGER}
    leave = {
        "type": "object",
        "properties": {"id": _ID, "seq": _INTEGER, "reason": {"enum": list(LEAVE_REASONS)}},
        "required": ["id", "seq", "reason"],
    }
    point = {**_ROW, "properties": {"id": _ID, "seq": _INTEGER, "x": {}, "y": {}}}
    rows = {**sub, **version, "to_seq": _INTEGER, "rows": _ROWS}
    reasons = {"reason": {"enum": ["evicted", "expired", "slow"]}}
    hello = {
        "protocol": {"const": PROTOCOL},
        "server": {"type": "string"},
        "auth": {"enum": ["none", "required", "ok"]},
        "limits": {"$ref": "#/components/schemas/limits"},
    }
    who = OPS["auth"].reply
    error_properties = _schemas()["error"]["properties"]
    numbers = {name: _ANSWERED.get(name, {"type": "number"}) for name in SERVER_STATS}
    found = {
        "hello": (_event("hello", hello, {name: _ANSWERED[name] for name in who}), []),
        "error": (_event("error", error_properties), _golden("text-error-event")),
        "live": (
            _event("live", {**sub, **version, "leave": {"type": "array", "items": leave},
                            "enter": _ROWS}),
            _golden("text-live"),
        ),
        "feed": (_event("feed", rows), _golden("text-feed")),
        "match": (_event("match", rows), []),
        "novel": (_event("novel", {**rows, "rows": _NEW_ROWS}), _golden("text-novel")),
        "gap": (
            _event("gap", {**sub, "from_seq": _INTEGER, "to_seq": _INTEGER, **reasons}),
            _golden("text-gap"),
        ),
        "count": (
            _event("count", {**sub, **version, "count": _INTEGER},
                   {name: _ANSWERED.get(name, _INTEGER) for name in ("by", "others")}),
            _golden("text-count-push"),
        ),
        "stats": (_event("stats", {**sub, "at": {"type": "number"}}, numbers), []),
        "map": (
            _event("map", {**sub, **version, "basis": _INTEGER,
                           "rows": {"type": "array", "items": point}}),
            [],
        ),
        "ended": (
            _event("ended", {**sub, "reason": {"enum": ["dropped", "forbidden", "unavailable"]}}),
            [],
        ),
        "expiring": (_event("expiring", {"expires_in_s": {"type": "number"}}), []),
    }  # fmt: skip
    return {
        f"{name}_event": _message(f"{name}_event", payload, examples)
        for name, (payload, examples) in found.items()
    }


def _schemas() -> Json:
    described = {name: _ANSWERED.get(name, {"type": "number"}) for name in OPS["describe"].reply}
    described["rows"] = _INTEGER
    return {
        "row": _ROW,
        "new_row": {
            **_ROW,
            "properties": {
                **_ROW["properties"],
                "score": {"type": ["number", "null"]},
                "near": {"type": ["integer", "string", "null"]},
            },
            "required": [*_ROW["required"], "score", "near"],
        },
        **_SHAPES,
        "count_of_value": _object(
            {"value": {"type": ["number", "boolean", "string", "null"]}, "count": _INTEGER},
            ("value", "count"),
            is_open=True,
        ),
        "grant": _object(
            {
                "collections": {"type": "array", "items": {"type": "string"}},
                "rights": {"type": "array", "items": {"enum": list(RIGHTS)}},
                "filter": {"type": "object"},
                "stamp": {"type": "object"},
            },
            ("collections", "rights"),
            is_open=True,
        ),
        "unavailable": _object(
            {
                "collection": {"type": "string"},
                "reason": {"type": "string"},
                "recovering": {"type": "boolean"},
            },
            ("collection", "reason", "recovering"),
            is_open=True,
        ),
        "description": _object(described, OPS["describe"].reply, is_open=True),
        "limits": {
            "type": "object",
            "properties": {
                limit.name: {
                    "type": "integer",
                    "default": limit.default,
                    "description": limit.about,
                }
                for limit in LIMITS.values()
                if limit.name != "max_memory_bytes"
            },
            "additionalProperties": {"type": "integer"},
        },
        "error": _object(
            {
                "code": {"enum": list(ERRORS)},
                "message": {"type": "string"},
                "retry": {"type": "boolean"},
            },
            ("code", "message"),
            is_open=True,
        ),
    }


# -- binary messages ----------------------------------------------------------------------------


def _binary() -> Json:
    golden = {
        "ADD": ["add-auto", "add-u64", "add-str", "add-unless-near"],
        "ADDED": ["added", "added-duplicate", "added-compared"],
        "SEARCH": ["search", "search-filtered", "search-shaped", "search-examples"],
        "RESULTS": ["results", "results-rich", "results-subs", "results-empty", "results-ranked"],
        "LIVE": ["live", "live-ranked"],
        "ROWS": ["rows-feed", "rows-match", "rows-novel", "rows-empty"],
        "SUBSCRIBE": ["subscribe", "subscribe-examples"],
        "MOVE": ["move", "move-changes"],
    }
    found = {}
    for kind in KINDS.values():
        payload = {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "application/octet-stream",
            "description": _layout(kind),
        }
        examples = [one for name in golden[kind.name] for one in _golden(f"binary-{name}")]
        message = _message(kind.name, payload, examples)
        found[kind.name] = {**message, "contentType": "application/octet-stream"}
    return found


def _layout(kind: Kind) -> str:
    flags = "; ".join(f"flag {bit}: {meaning}" for bit, meaning in kind.flags.items()) or "no flags"
    sections = ", ".join(map(_section, kind.sections))
    return (
        f"Kind {kind.number}. Header of 32 bytes ({', '.join(HEADER_FIELDS)}), of which it uses"
        f" {', '.join(('magic', 'protocol', 'kind', 'flags', 'id', *kind.header))}; {flags}."
        f" Sections, each padded to 8 bytes: JSON ({', '.join(kind.json) or 'none'}), {sections}"
        + (", then one array [n] for each name in JSON columns." if kind.columns_flag else ".")
        + (f" With {kind.empty_with} in the JSON n is 0." if kind.empty_with else "")
    )


def _section(one: Section) -> str:
    there = f" with flag {one.flag}" if one.flag else ""
    there += f" unless JSON has {one.unless_json}" if one.unless_json else ""
    return f"{one.name} {one.dtype}[{']['.join(one.shape)}]{there}"


# -- examples -------------------------------------------------------------------------------------


def _message(name: str, payload: Json, examples: list[Json]) -> Json:
    message: Json = {"name": name, "payload": payload}
    if examples:
        message["examples"] = examples
    return message


def _golden(name: str) -> list[Json]:
    """The golden frame of that name, or those that begin so, as examples."""
    cases = json.loads((VECTORS / "index.json").read_text("utf-8"))
    exact = [case for case in cases if case["name"] == name]
    found = exact or [case for case in cases if case["name"].startswith(f"{name}-")]
    return [{"name": case["name"], "payload": _payload(case)} for case in found]


def _payload(case: Json) -> Any:
    if "text" in case:
        return json.loads(case["text"])
    return base64.b64encode((VECTORS / case["file"]).read_bytes()).decode()


if __name__ == "__main__":
    PATH.write_text(text(), "utf-8")
