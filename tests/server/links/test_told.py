"""What the log, the audit log, traces and HTTP tell of requests that another node answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.patience import eventually
from tests.server.http.api.served import client_of
from tests.server.links.pair import held_by_b, pair
from tests.server.raw import client, rows, settings, with_keys
from tests.server.sessions.test_traces import SAMPLED, Exported, attributes, trace_id

ROWS = "/v1/collections/items/rows"


def with_http(given: Settings, _: str) -> Server:
    return Server(given.model_copy(update={"http_port": 0}))


async def test_http_is_answered_by_other_nodes_too() -> None:
    async with pair(make=with_http) as nodes:
        async with client_of(nodes["b"]) as near:
            made = {
                "collection": "items",
                "dim": 3,
                "capacity": 100,
                "ids": "auto",
                "metric": "dot",
            }
            assert (await near.post("/v1/collections", json=made)).status_code == 200
        nodes.place("items", "b")
        async with client_of(nodes["a"]) as far:
            added = await far.post(ROWS, json={"rows": [{"vector": [1, 2, 3]}]})
            assert added.json() == {"version": 1, "first_seq": 1, "last_seq": 1}
            array = np.ones((2, 3), "<f4")
            octets = {"Content-Type": "application/octet-stream"}
            query = "?dim=3&producer=p&batch=1"
            for is_again in (False, True):
                added = await far.post(ROWS + query, content=array.tobytes(), headers=octets)
                assert added.json().get("duplicate", False) is is_again
                assert added.json()["last_seq"] == 3
            found = await far.post(
                "/v1/collections/items/search", json={"vector": [1, 0, 0], "k": 9}
            )
            assert [one["seq"] for one in found.json()["results"]] == [3, 2, 1]
            wrong = await far.post("/v1/collections/items/search", content=b"[1]", headers=JSON)
            assert fault(wrong)["code"] == "bad_request"
            wrong = await far.post("/v1/collections/items/search", content=b'{"k":}', headers=JSON)
            assert fault(wrong)["code"] == "bad_request"
            assert (await far.delete("/v1/collections/items")).json() == {}
        assert nodes["a"].metrics.passed_on >= 6


JSON = {"Content-Type": "application/json"}


def fault(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


async def test_an_event_stream_comes_from_another_node() -> None:
    async with pair(make=with_http) as nodes, client(nodes["b"]) as raw:
        await raw.create("items", ids="u64")
        nodes.place("items", "b")
        async with (
            client_of(nodes["a"]) as far,
            far.stream("GET", "/v1/collections/items/feed") as stream,
        ):
            assert stream.status_code == 200
            await raw.add(7)
            async for line in stream.aiter_lines():
                if line.startswith("data:") and '"id":7' in line:
                    break
        await eventually(lambda: nodes["b"].metrics.subscriptions.total() == 0)


async def test_the_audit_log_names_the_client_where_it_was_answered(tmp_path: Path) -> None:
    def make(given: Settings, name: str) -> Server:
        return Server(given.model_copy(update={"audit_file": str(tmp_path / f"{name}.jsonl")}))

    def entries(name: str) -> list[dict[str, Any]]:
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one["op"] in ("drop", "add")]

    async with pair(with_keys(tmp_path), make=make) as nodes:
        async with client(nodes["b"], token="token-root") as raw:
            await raw.create("items")
        nodes.place("items", "b")
        async with client(nodes["a"], token="token-root") as raw:
            await raw.ok("drop", collection="items")
            (host, port) = raw.socket.local_address[:2]
        async with client(nodes["a"], token="token-reader") as raw:
            assert (await raw.error("add", collection="items", rows=rows(1)))["code"] == "forbidden"
    (dropped,) = entries("b")
    assert (dropped["principal"], dropped["tenant"], dropped["outcome"]) == ("root", "acme", "ok")
    assert dropped["address"] == f"{host}:{port}"
    (refused,) = entries("a")
    assert (refused["principal"], refused["outcome"]) == ("reader", "forbidden")


async def test_a_trace_goes_through_both_nodes() -> None:
    exported = {"a": Exported(1.0), "b": Exported(1.0)}

    def make(given: Settings, name: str) -> Server:
        return Server(given, traces=exported[name].traces)

    async with pair(make=make) as nodes:
        async with client(nodes["b"]) as raw:
            await raw.create("items")
        nodes.place("items", "b")
        async with client(nodes["a"]) as raw:
            await raw.ok("search", collection="items", vector=[1, 0], traceparent=SAMPLED)
            refused = await raw.error("search", collection="items", vector=[1])
            assert refused["code"] == "dim_mismatch"
        for one in exported.values():
            await one.until(lambda one=one: len(one.spans("omendb search")) == 2)  # type: ignore[misc]
        near, _ = exported["a"].spans("omendb search")
        far, _ = exported["b"].spans("omendb search")
        assert attributes(near)["node"] == "b"
        assert trace_id(far) == trace_id(near) == SAMPLED.split("-")[1]


async def test_nothing_secret_is_in_the_log(caplog: Any, tmp_path: Path) -> None:
    caplog.set_level("DEBUG")
    async with held_by_b(with_keys(tmp_path), "token-root") as (nodes, raw):
        await raw.ok("count", collection="items")
        for connection in list(nodes["b"]._sessions):
            connection.transport.abort()
        await eventually(lambda: nodes["a"].metrics.lost_links)
    assert "the connection to node b is gone" in caplog.text
    assert "challenge" not in caplog.text
    assert '"grants"' not in caplog.text


def test_the_metrics_are_there() -> None:
    assert Server(settings()).metrics.passed_on == 0
