"""``get_token``: when it is asked, how often, and what becomes of what it raises."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Unauthenticated

import omendb_ws
import omendb_ws.sync
from omendb_ws import errors
from omendb_ws.client import tokens
from omendb_ws.client.tokens import NoToken, in_a_thread, on_this_loop
from omendb_ws.net.server import Server
from omendb_ws.wire import messages, text_replies
from tests.client.common.places import PATIENCE_SECONDS, opened
from tests.client.fake import FakeServer, client_of, eventually, hasty
from tests.server.raw import running, with_keys


class Tokens:
    """Gives out ``t1``, ``t2`` …; raises what stands in ``faults`` first."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.given = 0

    def __call__(self) -> str:
        if self.faults:
            raise self.faults.pop(0)
        self.given += 1
        return f"t{self.given}"

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


def needing(auth: str = "ok", expires_in_s: float | None = None) -> FakeServer:
    """A server that takes any token, of which each is good for so long."""
    server = FakeServer()
    assert server.hello is not None
    server.hello |= {"auth": auth, "tenant": "acme"}
    if auth == "ok":
        server.hello["expires_in_s"] = expires_in_s
    server.handlers[messages.Auth] = lambda _, request: {
        "tenant": "acme", "expires_in_s": expires_in_s,
    }  # fmt: skip
    return server


async def ping_for_ever(db: Any) -> None:
    while True:
        await db.ping()


@pytest.mark.parametrize("is_async", [False, True])
async def test_it_is_asked_once_for_every_connection(is_async: bool) -> None:
    server, source = needing(auth="required"), Tokens()
    ask = on_this_loop(source.later if is_async else source)
    async with client_of(server, ask_token=ask) as db:
        await db.ping()
        await db.ping()
        server.connection.cut()
        await db.ping()
    assert [one.token for one in server.connections] == ["t1", "t2"]
    assert [one.token for one in server.of(messages.Auth)] == ["t1", "t2"]


async def test_a_token_is_renewed_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omendb_ws.client.dialer.LEAST_RENEW_SECONDS", 0.01)
    server, source = needing(expires_in_s=0.01), Tokens()
    async with client_of(server, ask_token=on_this_loop(source)) as db:
        second = await server.arrived(messages.Auth, 2)
        assert second.token == "t3"
        source.faults = [ValueError("away")] * 5
        fourth = await server.arrived(messages.Auth, 4)
        assert fourth.token == f"t{source.given}"
        await db.ping()
    assert len(server.connections) == 1


async def test_what_it_raises_at_first_is_the_cause_of_what_connect_raises() -> None:
    fault = ValueError("no secret here")
    with pytest.raises(errors.ConnectionLost, match="get_token failed: ValueError") as caught:
        async with client_of(needing(), ask_token=on_this_loop(Tokens(fault))):
            pass
    assert caught.value.__cause__ is fault
    for wrong in (5, None, b"t", "ü", ""):
        with pytest.raises(NoToken, match="get_token failed"):
            await on_this_loop(lambda given=wrong: given)()


async def test_what_it_raises_later_is_tried_again_and_told_to_those_who_wait() -> None:
    server, source = needing(), Tokens()
    async with client_of(server, ask_token=on_this_loop(source)) as db:
        source.faults = [KeyError("vault")] * 1_000_000
        server.connection.cut()
        await eventually(lambda: "KeyError" in str(db._connection))
        with (
            hasty(db),
            pytest.raises(TimeoutError, match="get_token failed: KeyError") as caught,
        ):
            await db.ping()
        assert isinstance(caught.value.__cause__, KeyError)
        source.faults.clear()
        await eventually(lambda: len(server.connections) == 2)
        await db.ping()


async def test_a_token_that_is_refused_is_asked_for_anew_and_not_for_ever() -> None:
    server, source = needing(), Tokens()
    async with client_of(server, ask_token=on_this_loop(source)) as db:
        server.refusals = [Unauthenticated("expired")] * 2
        server.connection.push(text_replies.encode_error(None, Unauthenticated("expired")))
        server.connection.cut(4401)
        await db.ping()
        assert source.given == 4
        server.refusals = [Unauthenticated("expired")] * 100
        server.connection.cut(4401)
        with pytest.raises(errors.Unauthenticated, match="expired"):
            await ping_for_ever(db)
        assert source.given == 4 + tokens.MAX_REFUSALS


async def test_asking_is_paced_like_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    server, source, waits = needing(), Tokens(), []
    async with client_of(server, ask_token=on_this_loop(source)) as db:
        real = db._connection._settings.backoff.delay_seconds

        def delay_seconds(self: Any, attempt: int, uniform: float) -> float:
            waits.append(attempt)
            return real(attempt, uniform)

        monkeypatch.setattr(omendb_ws.Backoff, "delay_seconds", delay_seconds)
        source.faults = [ValueError("away")] * 4
        server.connection.cut()
        await eventually(lambda: len(server.connections) == 2)
    assert waits[:5] == [1, 2, 3, 4, 5] or waits[:5] == [0, 1, 2, 3, 4]


async def test_a_synchronous_one_may_block_and_an_asynchronous_one_has_a_loop() -> None:
    threads = []

    def blocking() -> str:
        threads.append(threading.current_thread())
        with omendb_ws.sync.connect("memory://") as db:  # a call of a client waits for the loop
            db.ping()
        return "t1"

    async def asynchronous() -> str:
        await asyncio.sleep(0)
        return "t2"

    assert await in_a_thread(blocking)() == "t1"
    assert await in_a_thread(asynchronous)() == "t2"
    assert threads[0] is not threading.current_thread()


@pytest.mark.parametrize("kind", ["asyncio-socket", "sync-socket"])
async def test_clients_of_both_kinds_ask_for_the_token_of_a_server(
    kind: str, tmp_path: Path
) -> None:
    source = ["token-root"]
    async with (
        running(Server(with_keys(tmp_path))) as server,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        if kind == "sync-socket":

            def use() -> None:
                with omendb_ws.sync.connect(server.url, get_token=source.pop) as db:
                    assert db.list() == []

            await asyncio.to_thread(use)
        else:
            async with omendb_ws.connect(server.url, get_token=source.pop) as db:
                assert await db.list() == []
        with pytest.raises(errors.Unauthenticated):
            async with omendb_ws.connect(server.url, get_token=lambda: "wrong"):
                pass


async def test_what_is_none_is_refused_and_a_server_in_process_asks_for_none(kind: str) -> None:
    async with opened(kind) as place:
        for given in ({"get_token": 5}, {"get_token": "t"}, {"token": "t", "get_token": Tokens()}):
            with pytest.raises(errors.BadRequest, match="get_token"):
                async with place.connect(**given):
                    pass
        source = Tokens()
        async with place.connect(get_token=source) as db:
            await db.ping()
        assert source.given == ("socket" in kind)


@pytest.fixture(params=["asyncio-socket", "sync-socket", "asyncio-memory", "sync-memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
