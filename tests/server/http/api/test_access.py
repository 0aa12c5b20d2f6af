"""Who asks over HTTP: keys, grants, tenants, rates, proxies, TLS, the audit log; and faults."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server
from omendb_ws.sessions import ops
from omendb_ws.wire.messages import List
from tests.certificates import make_certificate
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.raw import Clock, engine_held, queued, settings, with_keys
from tests.server.tenant_files import limits, with_tenants
from tests.server.tokens import end_tokens, token, with_secret

from .served import JSON, client_of, fault_of, served, served_client

ITEMS = {"collection": "items", "dim": 2, "capacity": 10}
PATH = "/v1/collections/items"


async def test_a_grant_reaches_its_rows_and_no_others(tmp_path: Path) -> None:
    columns = {"shop": "str"}
    grant = {"rights": ["read", "write"], "filter": {"shop": "a"}, "stamp": {"shop": "a"}}
    async with served(with_secret(tmp_path)) as server:
        async with client_of(server, token()) as client:
            await client.post("/v1/collections", json=ITEMS | {"columns": columns})
            row = {"id": 1, "vector": [1, 0], "metadata": {"shop": "b"}}
            await client.post(f"{PATH}/rows", json={"rows": [row]})
        async with client_of(server, token(grant, sub="bob")) as client:
            await client.post(f"{PATH}/rows", json={"rows": [{"id": 2, "vector": [1, 0]}]})
            found = await client.post(f"{PATH}/search", json={"vector": [1, 0]})
            assert [one["id"] for one in found.json()["results"]] == [2]
            assert (await client.get(f"{PATH}/rows/1")).status_code == 404
            assert (await client.delete(f"{PATH}/rows/1")).json()["deleted"] == 0
            over = await client.post(f"{PATH}/rows", json={"rows": [{"id": 1, "vector": [1, 0]}]})
            assert (over.status_code, fault_of(over)["row"]) == (403, 0)
            dropped = await client.delete(PATH)
            assert (dropped.status_code, fault_of(dropped)["code"]) == (403, "forbidden")


async def test_a_key_that_goes_is_not_known_at_the_next_request(tmp_path: Path) -> None:
    given = with_keys(tmp_path)
    async with served(given) as server, client_of(server, "token-root") as client:
        assert (await client.get("/v1/collections")).status_code == 200
        keys = tmp_path / "keys.toml"
        keys.write_text(keys.read_text().replace('name = "root"', 'name = "roots"'))
        entries = keys.read_text().split("[[keys]]")
        keys.write_text("[[keys]]".join(one for one in entries if '"roots"' not in one))
        await server.node.read_again()
        gone = await client.get("/v1/collections")
        assert (gone.status_code, fault_of(gone)["code"]) == (401, "unauthenticated")
        assert server.metrics.connections == 0


async def test_a_token_that_ends_ends_its_session_and_not_the_connection(tmp_path: Path) -> None:
    given = with_secret(tmp_path, jwt_leeway_seconds=0.0)
    async with served(given) as server, client_of(server) as client:
        short = token(exp=time.time() + 1.2)
        headers = {"Authorization": f"Bearer {short}"}
        assert (await client.get("/v1/collections", headers=headers)).status_code == 200
        await eventually(lambda: server.metrics.connections == 0)
        assert (await client.get("/v1/collections", headers=headers)).status_code == 401
        headers = {"Authorization": f"Bearer {token()}"}
        assert (await client.get("/v1/collections", headers=headers)).status_code == 200


CHANGES: dict[str, tuple[str, str, Any]] = {
    "add": ("POST", f"{PATH}/rows", {"rows": [{"id": 2, "vector": [1, 0]}]}),
    "update": ("PATCH", f"{PATH}/rows/1", {"metadata": {"a": 1}}),
    "delete": ("DELETE", f"{PATH}/rows/1", None),
    "drop": ("DELETE", PATH, None),
    "prototype": ("POST", "/vectors/batch", {"vectors": [{"vector": [1, 0]}]}),
}


@pytest.mark.parametrize("how", ["token", "session"])
@pytest.mark.parametrize("what", [*CHANGES, "search"])
async def test_who_is_cut_off_from_a_change_is_not_told_that_it_was_refused(
    what: str, how: str, tmp_path: Path
) -> None:
    """It is done here; and nobody may be led to do it twice."""
    async with (
        served(with_secret(tmp_path)) as server,
        client_of(server, token()) as client,
        client_of(server, token(exp=time.time() + 500)) as going,
    ):
        for name in ("items", "default"):
            await client.post("/v1/collections", json=ITEMS | {"collection": name, "ids": "u64"})
        await client.post(f"{PATH}/rows", json={"rows": [{"id": 1, "vector": [1, 0]}]})
        searching = ("POST", f"{PATH}/search", {"vectors": [[1, 0]] * 2})
        method, path, body = CHANGES.get(what, searching)
        async with engine_held(server):
            asking = asyncio.create_task(going.request(method, path, json=body))
            await queued(server, 1)
            if how == "token":
                end_tokens(server, 550)
            else:
                (one,) = (one for one in server.node._sessions if one._inflight)
                server.node.close_session(one)
            answer = await asking
        fault = fault_of(answer)
        if what == "search":
            expected = (401, "unauthenticated") if how == "token" else (503, "unavailable")
            assert (answer.status_code, fault["code"]) == expected
        else:
            assert (answer.status_code, fault["code"]) == (500, "internal")
            assert "it may be done" in fault["message"]


async def test_over_a_rate_it_is_said_when_to_come_again(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(queries_per_second=1, max_collections=1))
    clock = Clock()
    given = given.model_copy(update={"http_port": 0})
    async with Server(given, clock_us=clock) as server, client_of(server, "token-root") as client:
        await client.post("/v1/collections", json=ITEMS)
        refused = await client.post("/v1/collections", json=ITEMS | {"collection": "others"})
        assert (refused.status_code, fault_of(refused)["code"]) == (429, "quota")
        assert int(refused.headers["retry-after"]) >= 1
        await client.post(f"{PATH}/search", json={"vectors": [[1, 0]] * 5})
        refused = await client.post(f"{PATH}/search", json={"vector": [1, 0]})
        fault = fault_of(refused)
        assert (refused.status_code, fault["code"]) == (429, "rate_limited")
        wait = int(refused.headers["retry-after"])
        assert 0 <= wait * 1000 - fault["retry_after_ms"] < 1000
        clock.move(wait)
        found = await client.post(f"{PATH}/search", json={"vector": [1, 0]})
        assert found.status_code == 200


async def test_connections_count_for_their_tenant_and_for_the_server(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(max_connections=1), max_connections=2)
    async with served(given) as server:
        one, two = client_of(server, "token-root"), client_of(server, "token-reader")
        async with one, two, client_of(server, "token-other") as other:
            assert (await one.get("/v1/collections")).status_code == 200
            refused = await two.get("/v1/collections")
            assert (refused.status_code, fault_of(refused)["code"]) == (429, "quota")
            assert (await other.get("/v1/collections")).status_code == 200
            refused = await two.get("/v1/collections")
            assert (refused.status_code, fault_of(refused)["code"]) == (503, "overloaded")
            assert fault_of(refused)["retry_after_ms"] == 1000
            assert refused.headers["retry-after"] == "1"


async def test_where_a_client_is_a_trusted_proxy_says_for_each_request(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    given = with_keys(tmp_path, audit_file=str(audit), trusted_proxies=("127.0.0.1",))
    async with served(given) as server, client_of(server) as client:
        for host, key in (("192.0.2.1", "token-root"), ("192.0.2.2", "token-root"), ("::7", "no")):
            headers = {"X-Forwarded-For": host, "X-API-Key": key}
            name = f"items-{host[-1]}"
            await client.post("/v1/collections", json=ITEMS | {"collection": name}, headers=headers)
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    told = [(one["op"], one["outcome"], one["address"]) for one in entries if "op" in one]
    assert ("create", "ok", "192.0.2.1") in told
    assert ("create", "ok", "192.0.2.2") in told
    assert ("POST /v1/collections", "unauthenticated", "[::7]") in told
    assert "token-root" not in audit.read_text()


async def test_tls_is_the_servers_own(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    given = settings(tls_certificate_file=made.certificate_file, tls_key_file=made.key_file)
    async with served(given) as server:
        assert server.http_url is not None
        assert server.http_url.startswith("https://")
        context = ssl.create_default_context(cafile=made.certificate_file)
        async with client_of(server, verify=context) as client:
            assert (await client.get("/v1/collections")).json() == {"collections": []}


async def test_a_proxy_header_is_read_on_this_port_too(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    given = with_keys(
        tmp_path, audit_file=str(audit), trusted_proxies=("127.0.0.1",), proxy_protocol="on"
    )
    async with served(given) as server:
        assert server.http_url is not None
        port = int(server.http_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 80\r\n"
            b"GET /v1/collections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"X-API-Key: token-root\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    (entry,) = [json.loads(one) for one in audit.read_text().splitlines() if '"auth"' in one]
    assert entry["address"] == "192.0.2.9:4711"


async def test_a_fault_is_told_by_a_reference_and_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served() as server, client_of(server) as client:

        def fault(*_: Any) -> None:
            raise RuntimeError("secret words")

        monkeypatch.setitem(ops._HANDLERS, List, fault)
        answer = await client.get("/v1/collections")
        told = fault_of(answer)
        assert (answer.status_code, told["code"], told["retry"]) == (500, "internal", True)
        assert "secret" not in answer.text
        assert told["message"].split()[-1] in caplog.text
        assert (await client.get("/v1/collections/items")).status_code == 404
        assert server.metrics.faults == 1
        assert server.metrics.http.answers == {"500": 1, "404": 1}


async def test_what_waits_for_the_engine_when_its_client_goes_is_forgotten() -> None:
    async with served() as server, client_of(server) as client:
        await client.post("/v1/collections", json=ITEMS)
        assert server.http_url is not None
        body = b'{"vectors": [[1, 0], [0, 1]]}'
        async with engine_held(server):
            port = int(server.http_url.rpartition(":")[2])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST %b/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
            )
            await eventually(lambda: server.context.engine.depth == 1)
            writer.close()
            await eventually(lambda: server.metrics.connections == 1)
        assert (await client.get(PATH)).status_code == 200
        assert server.metrics.http.answers["200"] == 2


async def test_a_client_reads_what_it_wrote() -> None:
    async with served_client() as client:
        await client.post("/v1/collections", json=ITEMS | {"metric": "dot"})
        for number in range(1, 20):
            row = {"id": 1, "vector": [number, 0]}
            await client.post(f"{PATH}/rows", content=json.dumps({"rows": [row]}), headers=JSON)
            found = await client.post(f"{PATH}/search", json={"vector": [1, 0]})
            assert found.json()["results"][0]["score"] == number
