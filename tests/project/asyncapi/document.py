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

from omendb_ws._version import VERSION
from omendb_ws.http.api.json_schema import (
    ANSWERED,
    ID,
    INTEGER,
    NEW_ROWS,
    ROW,
    ROWS,
    Json,
    answered_by,
    object_of,
    schema_of,
    shared_schemas,
)
from omendb_ws.http.routes import WEBSOCKET_PATH
from omendb_ws.wire.opcodes import (
    CLOSE_CODES,
    HEADER_FIELDS,
    KINDS,
    LEAVE_REASONS,
    OPS,
    PROTOCOL,
    SERVER_STATS,
    SUBSCRIPTION_KINDS,
    TRACEPARENT,
    Kind,
    Op,
    Section,
)

from .operators import TOLD

VECTORS: Final = Path(__file__).resolve().parents[2] / "vectors"
PATH: Final = Path(__file__).resolve().parents[3] / "omendb_ws" / "web" / "asyncapi.yaml"


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
            "schemas": shared_schemas(),
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


def _answers_of(op: str) -> list[str]:
    return ["snapshot_ok", "SNAPSHOT"] if op == "snapshot" else [f"{op}_ok"]


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
            "reply": {"channel": channel, "messages": told(*_answers_of(op.name), "error")},
        }
    answers = {
        "ADD": "ADDED", "SEARCH": "RESULTS", "SUBSCRIBE": "RESULTS", "MOVE": "RESULTS",
        "RESTORE": "restore_ok",
    }  # fmt: skip
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


#: What a live query is near to.
_TARGETS: Final = [{"required": ["vector"]}, {"required": ["positive"]}]


def _text_requests() -> Json:
    found = {}
    for op in OPS.values():
        properties: Json = {
            "id": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
            "op": {"const": op.name},
            TRACEPARENT: {"type": "string"},
            **{one.name: schema_of(one) for one in op.fields},
        }
        required = ["id", "op", *(one.name for one in op.fields if one.required)]
        payload = object_of(properties, required, is_open=False)
        if op.one_of:
            payload["oneOf"] = [{"required": [name]} for name in op.one_of]
        if op.name == "move":
            payload["not"] = {"required": ["vector", "positive"]}
            payload["minProperties"] = len(required) + 1
        if op.name == "count":
            payload["dependentRequired"] = {"limit": ["by"]}
        if op.name == "subscribe":
            payload = {
                "oneOf": _by_kind({name: properties[name] for name in ("id", "op", TRACEPARENT)})
            }
        found[op.name] = _message(op.name, payload, _golden(f"text-{op.name}"))
    return found


def _by_kind(common: Json) -> list[Json]:
    """``subscribe`` for each kind of subscription."""
    return [
        object_of(
            {**common, "kind": {"const": kind}, **{one.name: schema_of(one) for one in fields}},
            ("id", "op", "kind", *(one.name for one in fields if one.required)),
            is_open=False,
        )
        | ({"oneOf": _TARGETS} if kind == "live" else {})
        for kind, fields in SUBSCRIPTION_KINDS.items()
    ]


def _text_replies() -> Json:
    found = {}
    for op in OPS.values():
        ok = object_of(TOLD.get(op.name) or answered_by(op), (), is_open=True)
        payload = object_of({"id": INTEGER, "ok": ok}, ("id", "ok"), is_open=False)
        found[f"{op.name}_ok"] = _message(f"{op.name}_ok", payload, _examples_of(op))
    error = {"$ref": "#/components/schemas/error"}
    payload = object_of({"id": INTEGER, "error": error}, ("id", "error"), is_open=False)
    examples = [*_golden("text-error"), *_golden("text-error-expected")]
    return {**found, "error": _message("error", payload, examples)}


def _examples_of(op: Op) -> list[Json]:
    golden = {
        "ping": ["text-ok"],
        "add": ["text-added", "text-added-duplicate", "text-added-compared", "text-added-shards"],
        "search": ["text-results", "text-results-lists"],
        "get": ["text-found", "text-found-shards"],
        "count": ["text-ok", "text-counted-by"],
    }
    return [example for name in golden.get(op.name, ()) for example in _golden(name)]


def _event(name: str, required: Json, optional: Json | None = None) -> Json:
    properties = {"event": {"const": name}, **required, **(optional or {})}
    return object_of(properties, ("event", *required), is_open=True)


def _events() -> Json:
    sub = {"sub": INTEGER}
    version = {"version": INTEGER}
    leave = {
        "type": "object",
        "properties": {"id": ID, "seq": INTEGER, "reason": {"enum": list(LEAVE_REASONS)}},
        "required": ["id", "seq", "reason"],
    }
    point = {**ROW, "properties": {"id": ID, "seq": INTEGER, "x": {}, "y": {}}}
    rows = {**sub, **version, "to_seq": INTEGER, "rows": ROWS}
    shard = {"shard": INTEGER}
    reasons = {"reason": {"enum": ["evicted", "expired", "slow"]}}
    hello = {
        "protocol": {"const": PROTOCOL},
        "server": {"type": "string"},
        "auth": {"enum": ["none", "required", "ok"]},
        "limits": {"$ref": "#/components/schemas/limits"},
    }
    place = {"node": {"type": "string"}, "cluster": {"type": "string"}}
    who = OPS["auth"].reply
    error_properties = shared_schemas()["error"]["properties"]
    numbers = {name: ANSWERED.get(name, {"type": "number"}) for name in SERVER_STATS}
    found = {
        "hello": (_event("hello", hello, {name: ANSWERED[name] for name in who} | place), []),
        "error": (_event("error", error_properties), _golden("text-error-event")),
        "live": (
            _event("live", {**sub, **version, "leave": {"type": "array", "items": leave},
                            "enter": ROWS}, {"versions": ANSWERED["versions"]}),
            _golden("text-live"),
        ),
        "feed": (_event("feed", rows, shard), _golden("text-feed")),
        "match": (_event("match", rows, shard), []),
        "novel": (_event("novel", {**rows, "rows": NEW_ROWS}), _golden("text-novel")),
        "gap": (
            _event("gap", {**sub, "from_seq": INTEGER, "to_seq": INTEGER, **reasons}, shard),
            _golden("text-gap"),
        ),
        "count": (
            _event("count", {**sub, **version, "count": INTEGER},
                   {name: ANSWERED.get(name, INTEGER) for name in ("by", "others")}),
            _golden("text-count-push"),
        ),
        "stats": (_event("stats", {**sub, "at": {"type": "number"}}, numbers), []),
        "cluster": (_event("cluster", {**sub, **TOLD["cluster"]}), []),
        "map": (
            _event("map", {**sub, **version, "basis": INTEGER,
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


# -- binary messages ----------------------------------------------------------------------------


def _binary() -> Json:
    golden = {
        "ADD": ["add-auto", "add-u64", "add-str", "add-unless-near"],
        "ADDED": ["added", "added-duplicate", "added-compared", "added-shards"],
        "SEARCH": ["search", "search-filtered", "search-shaped", "search-examples"],
        "RESULTS": [
            "results",
            "results-rich",
            "results-subs",
            "results-empty",
            "results-ranked",
            "results-shards",
        ],
        "LIVE": ["live", "live-ranked"],
        "ROWS": ["rows-feed", "rows-match", "rows-novel", "rows-empty"],
        "SUBSCRIBE": ["subscribe", "subscribe-examples"],
        "MOVE": ["move", "move-changes"],
        "SNAPSHOT": ["snapshot", "snapshot-last"],
        "RESTORE": ["restore"],
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
