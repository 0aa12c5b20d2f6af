"""``/asyncapi.yaml``: valid, up to date, and true of what a server and a client really say."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from websockets.asyncio.client import connect

from omendb_ws.cluster.members import Window
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from omendb_ws.web import FILES, load
from omendb_ws.wire.opcodes import KINDS, OPS
from tests.cluster.test_status import collection, status_of
from tests.patience import PATIENCE_SECONDS

from .document import PATH, document, text
from .operators import TOLD

#: The AsyncAPI initiative's own schema of 3.0.0 (Apache-2.0), as @asyncapi/specs 6.11.1 has it.
SCHEMA = Path(__file__).parent / "schema-3.0.0.json.gz"


def resolved(value: Any, whole: dict[str, Any]) -> Any:
    """``value`` with the references into components written out."""
    if isinstance(value, dict):
        if "$ref" in value:
            found: Any = whole
            for key in value["$ref"].removeprefix("#/").split("/"):
                found = found[key]
            return resolved(found, whole)
        return {key: resolved(one, whole) for key, one in value.items()}
    return [resolved(one, whole) for one in value] if isinstance(value, list) else value


def check(message: str, payload: Any) -> None:
    """ValidationError if ``payload`` is not what the document says of ``message``."""
    whole = document()
    schema = resolved(whole["components"]["messages"][message]["payload"], whole)
    jsonschema.Draft7Validator(schema).validate(payload)


def test_the_file_is_what_the_tables_say() -> None:
    assert PATH.read_text("utf-8") == text(), "python -m tests.project.asyncapi.document"


def test_the_document_is_valid_asyncapi() -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(PATH.read_text("utf-8")))


def test_the_schema_refuses_what_is_no_asyncapi() -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    broken = document()
    broken["operations"]["ping"]["action"] = "shout"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(broken)


def test_every_reference_leads_somewhere() -> None:
    resolved(document(), document())


def test_every_op_and_kind_is_described() -> None:
    described = document()
    assert {*OPS, *(f"{op}_ok" for op in OPS)} <= set(described["components"]["messages"])
    assert {kind.name for kind in KINDS.values()} <= set(described["components"]["messages"])
    assert set(OPS) <= set(described["operations"])


def test_every_example_is_what_its_message_is_said_to_be() -> None:
    messages = document()["components"]["messages"]
    examples = [
        (name, example["payload"])
        for name, message in messages.items()
        for example in message.get("examples", ())
    ]
    assert len(examples) > 40
    for name, payload in examples:
        check(name, payload)


def test_it_is_served() -> None:
    assert "/asyncapi.yaml" in FILES
    assert load("/asyncapi.yaml").plain.body.decode() == text()


async def test_what_is_told_of_a_cluster_is_as_described() -> None:
    kept = {"two": Window(7, False, 0, is_broken=True)}
    there = {"a": collection("a"), "b": collection("b", None, windows=kept)}
    for tenant in (None, "default"):
        told = status_of(there).of(tenant)
        assert told.keys() == TOLD["cluster"].keys()
        check("cluster_ok", {"id": 1, "ok": told})
        check("cluster_event", {"event": "cluster", "sub": 3, **told})


async def test_a_conversation_is_as_described() -> None:
    vector = {"vector": [1.0, 0.0]}
    requests: list[dict[str, Any]] = [
        {"op": "ping"},
        {"op": "create", "collection": "c", "dim": 2, "capacity": 8, "columns": {"a": "f64"}},
        {"op": "subscribe", "kind": "live", "collection": "c", **vector},
        {"op": "subscribe", "kind": "feed", "collection": "c"},
        {"op": "subscribe", "kind": "match", "collection": "c", **vector, "min_score": 0},
        {"op": "subscribe", "kind": "count", "collection": "c", "by": "a", "every": 100},
        {"op": "subscribe", "kind": "stats", "every": 100},
        {"op": "subscribe", "kind": "map", "collection": "c", "every": 100},
        {"op": "add", "collection": "c", "rows": [{"id": 1, **vector, "metadata": {"a": 1}}]},
        {"op": "search", "collection": "c", **vector, "include": ["metadata", "vector"]},
        {"op": "search", "collection": "c", "vectors": [[1, 0], [0, 1]]},
        {"op": "get", "collection": "c", "ids": [1, 2]},
        {"op": "count", "collection": "c", "filter": {"a": 1}},
        {"op": "count", "collection": "c", "by": "a", "limit": 5},
        {"op": "update", "collection": "c", "rows": [{"id": 1, "metadata": {}}]},
        {"op": "move", "sub": 1, "vector": [0.0, 1.0]},
        {"op": "move", "sub": 1, "positive": [1], "exclude": [], "filter": {}, "min_score": None},
        {"op": "delete", "collection": "c", "ids": [1]},
        {"op": "describe", "collection": "c"},
        {"op": "open", "collection": "c"},
        {"op": "list"},
        {"op": "stats"},
        {"op": "stats", "collection": "c"},
        {"op": "usage"},
        {"op": "unsubscribe", "sub": 1},
        {"op": "search", "collection": "none", **vector},
        {"op": "drop", "collection": "c"},
    ]
    wanted = {"hello", "live", "feed", "match", "count", "stats", "map", "error", "ended"}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        Server(Settings(port=0)) as server,
        connect(server.url) as socket,
    ):
        for number, request in enumerate(requests):
            check(request["op"], {"id": number, **request})
            await socket.send(json.dumps({"id": number, **request}))
            while (message := json.loads(await socket.recv())).get("id") != number:
                wanted.discard(message["event"])
                check(f"{message['event']}_event", message)
            check("error" if "error" in message else f"{request['op']}_ok", message)
            if request["op"] == "add":
                # What is pushed depends on what is true when the socket takes it.
                while wanted - {"error", "ended"}:
                    message = json.loads(await socket.recv())
                    wanted.discard(message["event"])
                    check(f"{message['event']}_event", message)
        await socket.send("no JSON")
        while wanted:
            message = json.loads(await socket.recv())
            wanted.discard(message["event"])
            check(f"{message['event']}_event", message)
