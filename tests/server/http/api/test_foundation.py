"""The HTTP port: requests become messages of real sessions, refusals are error objects."""

from __future__ import annotations

import asyncio
import builtins
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from omendb_core.model.errors import BY_CODE

from omendb_ws.http.api.refusals import STATUS, status_of
from omendb_ws.net.server import Server
from omendb_ws.runtime.extras import ExtraMissing
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings
from tests.server.tokens import token, with_secret

from .served import JSON, client_of, fault_of, served, served_client

ITEMS = {"collection": "items", "dim": 3, "capacity": 100}


async def test_a_collection_is_made_searched_and_dropped() -> None:
    async with served_client() as client:
        made = await client.post("/v1/collections", json=ITEMS)
        assert made.status_code == 200
        assert made.json()["dim"] == 3
        assert [
            one["collection"] for one in (await client.get("/v1/collections")).json()["collections"]
        ] == ["items"]
        found = await client.post("/v1/collections/items/search", json={"vector": [1, 0, 0]})
        assert found.json()["results"] == []
        assert (await client.delete("/v1/collections/items")).json() == {}
        gone = await client.get("/v1/collections/items")
        assert (gone.status_code, fault_of(gone)["code"]) == (404, "not_found")


async def test_requests_of_one_connection_are_of_one_session_and_the_session_ends_with_it() -> None:
    async with served() as server:
        metrics = server.metrics
        async with client_of(server) as client:
            for _ in range(5):
                await client.get("/v1/collections")
            assert metrics.connections_opened == 1
            assert metrics.connections == 1
        await _until(lambda: metrics.connections == 0)


async def test_another_token_on_a_connection_is_another_session(tmp_path: Path) -> None:
    async with served(with_secret(tmp_path)) as server, client_of(server) as client:
        for tenant in ("one", "two", "one"):
            headers = {"Authorization": f"Bearer {token(tenant=tenant)}"}
            made = await client.post(
                "/v1/collections", json=ITEMS | {"if_exists": "ok"}, headers=headers
            )
            assert made.json()["version"] == 0
        assert server.metrics.connections_opened == 3
        assert server.metrics.connections == 1


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthenticated"),
        ({"Authorization": "Bearer nobody"}, 401, "unauthenticated"),
        ({"X-API-Key": "nobody"}, 401, "unauthenticated"),
        ({"Host": "a host"}, 400, "bad_request"),
        ({"Origin": "http://elsewhere.example"}, 403, "forbidden"),
    ],
)
async def test_who_may_not_come_in_gets_the_error_object(
    tmp_path: Path, headers: dict[str, str], status: int, code: str
) -> None:
    async with served(with_secret(tmp_path)) as server, client_of(server) as client:
        answer = await client.get("/v1/collections", headers=headers)
        assert (answer.status_code, fault_of(answer)["code"]) == (status, code)
        assert ("www-authenticate" in answer.headers) is (status == 401)


async def test_both_headers_take_a_token_and_two_that_differ_are_nobodys(tmp_path: Path) -> None:
    async with served(with_secret(tmp_path)) as server, client_of(server) as client:
        known = token()
        for headers in (
            {"X-API-Key": known},
            {"Authorization": f"Bearer {known}"},
            {"Authorization": f"bearer {known}", "X-API-Key": known},
        ):
            assert (await client.get("/v1/collections", headers=headers)).status_code == 200
        other = {"Authorization": f"Bearer {known}", "X-API-Key": token(sub="bob")}
        refused = await client.get("/v1/collections", headers=other)
        assert refused.status_code == 401
        assert "two tokens" in fault_of(refused)["message"]


async def test_an_open_server_answers_only_to_its_own_names() -> None:
    async with served_client() as client:
        answer = await client.get("/v1/collections", headers={"Host": "rebound.example"})
        assert (answer.status_code, fault_of(answer)["code"]) == (403, "forbidden")


async def test_a_page_of_an_allowed_origin_may_ask_and_read() -> None:
    page = "https://page.example"
    async with served_client(allow_origins=(page,)) as client:
        asked = {
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        told = await client.options("/v1/collections", headers=asked)
        assert told.status_code == 204
        assert "POST" in told.headers["access-control-allow-methods"]
        assert "Content-Type" in told.headers["access-control-allow-headers"]
        for answer in (told, await client.get("/v1/collections", headers={"Origin": page})):
            assert answer.headers["access-control-allow-origin"] == page
            assert "Origin" in answer.headers["vary"]
        refused = await client.get("/v1/nothing", headers={"Origin": page})
        assert refused.headers["access-control-allow-origin"] == page


async def test_a_page_of_another_origin_may_read_nothing_not_even_health() -> None:
    async with served_client() as client:
        for ask in (client.get, client.options):
            answer = await ask("/health", headers={"Origin": "https://page.example"})
            assert answer.is_success, "probes are answered, whoever they are"
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/collections/", 404, "not_found"),
        ("OPTIONS", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/collections", 405, "bad_request"),
        ("BREW", "/v1/collections", 400, "bad_request"),
        ("GET", "/v1/collections/%ff", 400, "bad_request"),
        ("GET", "/v1/collections/-", 400, "bad_name"),
        ("GET", "/v1/collections?a=1", 400, "bad_request"),
    ],
)
async def test_what_is_not_there_gets_the_error_object_too(
    method: str, path: str, status: int, code: str
) -> None:
    async with served_client() as client:
        answer = await client.request(method, path)
        assert (answer.status_code, fault_of(answer)["code"]) == (status, code)
        assert (status == 404) is ("/docs lists" in fault_of(answer)["message"])
        if status == 405:
            assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (b"{}", {}, 415, "Content-Type: must be application/json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "Content-Type: must be application/json"),
        (b"{}", JSON | {"Content-Encoding": "br"}, 415, "Content-Encoding: gzip, or none"),
        (b"{", JSON, 400, "not JSON: unexpected end of data at character 1"),
        (b"[]", JSON, 400, "a request is a JSON object"),
        (b'"\xff"', JSON, 400, "the body: not UTF-8 at byte 1"),
        (b'{"op": "drop"}', JSON, 400, "op: unknown field"),
        (b'{"\\u0069d": 7}', JSON, 400, "id: unknown field"),
        (b'{"collection": "others"}', JSON, 400, "collection: unknown field"),
        (b'{"id": 7, "vector": [' + b"1," * 40_000 + b"1]}", JSON, 400, "id: unknown field"),
    ],
)
async def test_bodies_that_are_none(
    content: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    async with served_client() as client:
        answer = await client.post("/v1/collections/a/search", content=content, headers=headers)
        assert (answer.status_code, fault_of(answer)["message"]) == (status, message)


async def test_head_is_get_without_its_body() -> None:
    async with served_client() as client:
        whole = await client.get("/v1/collections")
        head = await client.head("/v1/collections")
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(len(whole.content))


def test_every_code_has_a_status() -> None:
    assert STATUS.keys() <= BY_CODE.keys()
    assert {status_of(code) for code in BY_CODE.keys() - STATUS.keys()} == {400}


async def test_without_the_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [one for one in sys.modules if one.split(".")[0] == "uvicorn"]:
        monkeypatch.delitem(sys.modules, name)
    imported = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name == "uvicorn":
            raise ImportError(name)
        return imported(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExtraMissing, match=r"pip install 'omendb-ws\[http\]'"):
        await Server(settings(http_port=0)).start()


async def test_a_leaving_server_answers_what_was_asked_and_closes() -> None:
    async with served() as server, client_of(server) as client:
        assert (await client.get("/v1/collections")).status_code == 200
        await server.drain()
        with pytest.raises(httpx.TransportError):
            await client.get("/v1/collections")


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
