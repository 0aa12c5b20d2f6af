"""JSON Schema of what operators of a cluster are told (PROTOCOL section 8). Pure data."""

from __future__ import annotations

from typing import Final

from omendb_ws.http.api.json_schema import INTEGER, Json, object_of

_TEXT: Final[Json] = {"type": "string"}
_TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}


def _list_of(properties: Json) -> Json:
    return {"type": "array", "items": object_of(properties, properties, is_open=True)}


_NODES: Final[Json] = _list_of(
    {
        "node": _TEXT,
        "address": _TEXT_OR_NULL,
        "version": _TEXT,
        "state": {"enum": ["up", "leaving", "gone"]},
        "collections": INTEGER,
        "owned": INTEGER,
        "rows": INTEGER,
        "since": {"type": "number"},
    }
)
_REPLICAS: Final[Json] = _list_of(
    {
        "node": _TEXT,
        "version": INTEGER,
        "state": {"enum": ["owner", "follower", "coming", "broken"]},
    }
)
_PLACES: Final[Json] = _list_of(
    {
        "tenant": _TEXT,
        "collection": _TEXT,
        "owner": _TEXT_OR_NULL,
        "replicas": _REPLICAS,
        "healing": {"enum": ["due", "waiting", "lost", None]},
    }
)
_SERVERS: Final[Json] = _list_of({"address": _TEXT, "connected": {"type": "boolean"}})

#: By op, the fields of its ``ok``; those of ``cluster`` are the push's, too.
TOLD: Final[dict[str, Json]] = {
    "cluster": {
        "node": _TEXT,
        "fresh": {"type": "boolean"},
        "collections": INTEGER,
        "ownerless": INTEGER,
        "waiting": INTEGER,
        "nodes": _NODES,
        "places": _PLACES,
        "nats": {**_SERVERS, "type": ["array", "null"]},
    },
    "move_owner": {"owner": _TEXT_OR_NULL},
    "evacuate": {"collections": INTEGER},
    "heal": {"version": INTEGER},
}
