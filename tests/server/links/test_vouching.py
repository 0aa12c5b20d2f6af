"""Only who knows the cluster's secret speaks for others, for whom it says, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from omendb_ws.access import vouching
from omendb_ws.access.grants import Grant
from omendb_ws.access.peer import Peer
from omendb_ws.access.principal import OPEN, Principal
from omendb_ws.access.vouching import NotVouched, Vouched, sign, verify
from omendb_ws.net.server import Server
from omendb_ws.sessions.routing.parts import BIND, SPEAK, SPOKEN
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.links.pair import SECRET, held_by_b, pair
from tests.server.raw import client, rows, running, with_keys
from tests.server.tokens import end_tokens, token, with_secret

ANN = Principal(
    "ann",
    "acme",
    (Grant(frozenset({"read"}), ("a-*",), {"x": 1}, {"y": "z"}),),
    1000.0,
    "key",
    True,
)
SAID = Vouched(ANN, Peer("10.0.0.9", 7), 1, 1 << 22)


def test_what_is_signed_is_what_is_read() -> None:
    found = verify(SECRET, "c", "b", sign(SECRET, "c", "b", SAID, 900.0), 0, 5000.0)
    assert found.principal == replace(ANN, expires_at=5100.0 + vouching._LATER_SECONDS)
    assert (found.principal.source, found.principal.is_operator) == ("key", True)
    assert (found.peer, found.number, found.first_sub) == (SAID.peer, 1, 1 << 22)


@pytest.mark.parametrize("what", ["secret", "challenge", "node", "again", "altered", "short"])
def test_nothing_else_is_believed(what: str) -> None:
    said = sign(bytes(32) if what == "secret" else SECRET, "c", "b", SAID, 900.0)
    if what == "altered":
        said = said.replace(b"acme", b"evil")
    if what == "short":
        said = said[:20]
    with pytest.raises(NotVouched):
        verify(
            SECRET,
            "d" if what == "challenge" else "c",
            "a" if what == "node" else "b",
            said,
            1 if what == "again" else 0,
            900.0,
        )


def address(server: Server) -> str:
    return f"{server.url}/link"


@asynccontextmanager
async def attacker(server: Server, **options: Any) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A connection as nodes make them, and its challenge."""
    async with connect(address(server), subprotocols=["omendb.v1"], **options) as socket:  # type: ignore[list-item]
        hello = orjson.loads(await socket.recv())
        assert hello["event"] == "hello"
        yield socket, hello["challenge"]


async def code_of(socket: ClientConnection) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    assert socket.close_code is not None
    return socket.close_code


async def test_a_server_by_itself_has_no_such_address() -> None:
    async with running() as server:
        with pytest.raises(InvalidStatus, match="404"):
            await connect(address(server))


@pytest.mark.parametrize("keys", [False, True])
async def test_a_clients_token_opens_nothing_there(tmp_path: Path, keys: bool) -> None:
    given = with_keys(tmp_path) if keys else None
    async with pair(given) as nodes:
        headers = {"Authorization": "Bearer token-root"}
        messages: list[bytes | str] = [
            '{"op":"list","id":1}',
            '{"op":"auth","id":1,"token":"token-root"}',
            BIND + b'{"handle":1,"collection":"items","epoch":null}',
            SPEAK + b"token-root",
            SPEAK + sign(b"token-root".ljust(32), "c", "b", SAID, 0.0),
        ]
        for message in messages:
            async with attacker(nodes["b"], additional_headers=headers) as (socket, _):
                await socket.send(message)
                assert await code_of(socket) == 4401
        with pytest.raises(InvalidStatus, match="403"):
            await connect(address(nodes["b"]), origin="http://evil.example")  # type: ignore[arg-type]
        assert nodes["b"].metrics.requests.total() == 0


async def test_what_was_overheard_is_of_no_use_again(tmp_path: Path) -> None:
    async with pair(with_keys(tmp_path)) as nodes, attacker(nodes["b"]) as (socket, challenge):
        said = SPEAK + sign(SECRET, challenge, "b", SAID, 0.0)
        await socket.send(said)
        assert await socket.recv() == SPOKEN + b"1"
        async with attacker(nodes["b"]) as (other, _):
            await other.send(said)
            assert await code_of(other) == 4401
        await socket.send(said)
        assert await code_of(socket) == 4401


async def test_a_node_is_held_to_the_tenant_that_it_began_with(tmp_path: Path) -> None:
    async with pair(with_keys(tmp_path)) as nodes, attacker(nodes["b"]) as (socket, challenge):
        await socket.send(SPEAK + sign(SECRET, challenge, "b", SAID, 0.0))
        await socket.recv()
        other = replace(SAID, number=2, principal=replace(ANN, tenant="umbrella"))
        await socket.send(SPEAK + sign(SECRET, challenge, "b", other, 0.0))
        assert await code_of(socket) == 4401


async def test_a_client_says_nothing_as_a_node(tmp_path: Path) -> None:
    async with held_by_b(with_keys(tmp_path), "token-root") as (nodes, raw):
        for frame in (
            BIND + b'{"handle":1,"collection":"x","epoch":null}',
            SPEAK + b"x",
            SPOKEN + b"1",
        ):
            await raw.send_binary(frame)
            assert (await raw.named("error"))["code"] == "bad_frame"
        twice = '{"op":"count","id":9,"collection":"items",%s"op":"auth","token":"token-root"}'
        for more in ("", f'"x":"{"y" * 5000}",'):  # the last one counts, where all is read
            await raw.send_text(twice % more)
            assert (await raw.reply(9))["error"]["code"] == "bad_request"
        assert nodes["b"].metrics.requests["auth"] == 0


async def test_grants_hold_at_other_nodes(tmp_path: Path) -> None:
    async with held_by_b(with_keys(tmp_path), "token-root") as (nodes, raw):
        await raw.ok("add", collection="items", rows=rows(1))
        async with client(nodes["a"], token="token-reader") as reader:
            assert (await reader.ok("count", collection="items"))["count"] == 1
            refused = await reader.error("add", collection="items", rows=rows(2))
            assert refused["code"] == "forbidden"
        async with client(nodes["a"], token="token-other") as other:
            assert (await other.error("count", collection="items"))["code"] in (
                "not_found",
                "unavailable",
            )
        tenants = {one.tenant: one for one in nodes["b"].context.accounts}
        assert tenants["acme"].connections == 0
        assert tenants["acme"].messages.count == 1  # the create of b's own client


FILTERED = {"rights": ["read", "write"], "filter": {"n": 1}, "stamp": {"n": 1}}


async def test_a_newer_token_that_allows_less_ends_subscriptions_there_first(
    tmp_path: Path,
) -> None:
    async with pair(with_secret(tmp_path)) as nodes:
        async with client(nodes["b"], token=token()) as raw:
            await raw.create("items", columns={"n": "i64"})
        nodes.place("items", "b")
        async with client(nodes["a"], token=token()) as raw:
            sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
            await raw.ok("add", collection="items", rows=rows(1))
            raw.order.clear()
            await raw.ok("auth", token=token(FILTERED))
            ended = [one for one in raw.order if one.get("event") == "ended"]
            assert [(one["sub"], one["reason"]) for one in ended] == [(sub, "forbidden")]
            assert (await raw.ok("count", collection="items"))["count"] == 0
            await raw.ok("add", collection="items", rows=rows(2))
            got = await raw.ok("get", collection="items", ids=[1, 2], include=["metadata"])
            assert got["rows"][0] is None
            assert got["rows"][1]["metadata"] == {"n": 1}


async def test_the_end_of_a_token_ends_what_is_elsewhere(tmp_path: Path) -> None:
    async with pair(with_secret(tmp_path)) as nodes:
        async with client(nodes["b"], token=token()) as raw:
            await raw.create("items")
        nodes.place("items", "b")
        async with client(nodes["a"], token=token()) as raw:
            await raw.ok("subscribe", kind="feed", collection="items")
            end_tokens(nodes["a"], 1000.0)
            assert (await raw.named("error"))["code"] == "unauthenticated"
            assert await raw.closed() == 4401
        await eventually(lambda: not nodes["b"]._sessions)


def test_an_open_server_vouches_for_everybody() -> None:
    found = verify(
        SECRET, "c", "b", sign(SECRET, "c", "b", replace(SAID, principal=OPEN), 0.0), 0, 0.0
    )
    assert found.principal == OPEN
    assert found.principal.source == OPEN.source
