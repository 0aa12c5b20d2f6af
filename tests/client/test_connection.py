"""Connecting, losing connections, asking again: against a server whose faults are chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import (
    BadRequest,
    Draining,
    Forbidden,
    Internal,
    NotFound,
    OmenError,
    Overloaded,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from omendb_core.model.types import Hits

from omendb_ws.client import backoff
from omendb_ws.client.aio import Client
from omendb_ws.client.backoff import MAX_ATTEMPTS, Backoff, retry_seconds
from omendb_ws.client.connection import Connection
from omendb_ws.client.dialer import Settings
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import binary, binary_replies, messages, text_replies
from omendb_ws.wire.opcodes import MAX_U32

from .fake import AT_ONCE, PATIENCE_SECONDS, FakeServer, client_of, eventually, hasty


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


def start(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


async def result(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await task


# -- connecting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ConnectionRefusedError("nobody there"), ConnectionLost),
        (Forbidden("origin"), Forbidden),
        (Unauthenticated("token"), Unauthenticated),
        (TimeoutError("slow"), TimeoutError),
    ],
)
async def test_the_first_attempt_fails_at_once(
    failure: BaseException, raised: type[Exception]
) -> None:
    server = FakeServer()
    server.refusals = [failure]
    with pytest.raises(raised):
        async with client_of(server):
            pass
    assert not server.refusals


async def test_a_server_of_another_protocol_is_not_supported() -> None:
    server = FakeServer()
    server.hello = {"protocol": "omendb.v2", "auth": "none"}
    with pytest.raises(Unsupported, match=r"omendb\.v2"):
        async with client_of(server):
            pass
    assert not server.connection.is_open


async def test_a_server_that_never_greets_times_out() -> None:
    server = FakeServer()
    server.hello = None
    with pytest.raises(TimeoutError):
        async with client_of(server, open_timeout_seconds=0.01):
            pass
    assert not server.connection.is_open


async def test_a_token_that_the_server_does_not_accept_raises_its_error() -> None:
    server = FakeServer()
    server.hello = None
    connection = Connection(server.open, Settings(token="wrong"))
    starting = start(connection.start())
    await eventually(lambda: server.connections)
    server.connection.push(text_replies.encode_error(None, Unauthenticated("no such token")))
    server.connection.cut(4401)
    with pytest.raises(Unauthenticated, match="no such token"):
        await result(starting)


async def test_a_server_that_wants_a_token_gets_none() -> None:
    server = FakeServer()
    assert server.hello is not None
    server.hello["auth"] = "required"
    with pytest.raises(Unauthenticated):
        async with client_of(server):
            pass


async def test_a_token_lost_on_the_way_is_sent_as_the_first_message() -> None:
    server = FakeServer()
    assert server.hello is not None
    server.hello["auth"] = "required"
    server.handlers[messages.Auth] = lambda _, request: {"rights": [], "tenant": "t"}
    async with client_of(server, token="secret") as db:
        await db.ping()
    [auth] = server.of(messages.Auth)
    assert auth.token == "secret"


async def test_limits_that_the_server_does_not_name_keep_their_defaults() -> None:
    server = FakeServer()
    assert server.hello is not None
    server.hello["limits"] = {"max_text_bytes": 100, "max_of_tomorrow": 1}
    async with client_of(server) as db:
        await db.ping()
        with pytest.raises(TooLarge, match="max_text_bytes is 100"):
            await db.delete("items", range(100))
        await db.ping()


# -- reconnecting -------------------------------------------------------------------------------


async def test_a_read_whose_reply_was_lost_is_asked_again() -> None:
    server = FakeServer()
    server.handlers[messages.Count] = lambda _, request: {"version": 1, "count": 7}
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        counting = start(db.count("items"))
        await server.arrived(messages.Count)
        server.hold = False
        server.connection.cut()
        assert await result(counting) == 7
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db.delete("items", [1]),
        lambda db: db.update("items", [1], [{}]),
        lambda db: db.create("items", dim=2, capacity=2),
        lambda db: db.drop("items"),
    ],
    ids=["delete", "update", "create", "drop"],
)
async def test_a_change_whose_reply_was_lost_is_not_repeated(change: Any) -> None:
    server = FakeServer()
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        changing = start(change(db))
        await eventually(lambda: len(server.requests) == 2)
        server.hold = False
        server.connection.cut()
        with pytest.raises(ConnectionLost, match="unknown"):
            await result(changing)
        await db.ping()
        assert len(server.requests) == 3


async def test_calls_made_while_disconnected_wait_for_the_connection() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.refusals = [ConnectionRefusedError("not yet")] * 3
        server.connection.cut()
        await db.ping()
    assert len(server.connections) == 2
    assert not server.refusals


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 4408])
async def test_every_close_that_is_not_ours_is_answered_by_reconnecting(code: int) -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.connection.cut(code, "bye")
        await db.ping()
    assert len(server.connections) == 2


async def test_refused_credentials_are_final() -> None:
    server = FakeServer()
    async with client_of(server, token="t") as db:
        server.hold = True
        pinging, adding = start(db.ping()), start(db.add("items", [[1, 2]], ids=[1]))
        await server.arrived(messages.Ping)
        server.connection.push(text_replies.encode_error(None, Unauthenticated("expired")))
        server.connection.cut(4401)
        for task in (pinging, adding):
            with pytest.raises(Unauthenticated, match="expired"):
                await result(task)
        with pytest.raises(Unauthenticated, match="expired"):
            await db.ping()
    assert len(server.connections) == 1


async def test_credentials_refused_while_reconnecting_are_final() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.refusals = [Unauthenticated("revoked")]
        server.connection.cut()
        with pytest.raises(Unauthenticated, match="revoked"):
            await db.ping()


async def test_a_refreshed_token_is_the_one_of_later_connections() -> None:
    server = FakeServer()
    server.handlers[messages.Auth] = lambda _, request: {"rights": ["read"], "tenant": "t"}
    async with client_of(server, token="old") as db:
        assert (await db.auth("new"))["rights"] == ["read"]
        server.connection.cut()
        await db.ping()
    assert [one.token for one in server.connections] == ["old", "new"]


async def test_a_token_that_was_refused_is_not_kept() -> None:
    server = FakeServer()
    server.handlers[messages.Auth] = lambda _, request: Unauthenticated("wrong")
    async with client_of(server, token="old") as db:
        with pytest.raises(Unauthenticated):
            await db.auth("new")
        server.connection.cut()
        await db.ping()
    assert server.connection.token == "old"


async def test_without_reconnect_a_lost_connection_is_the_end() -> None:
    server = FakeServer()
    async with client_of(server, reconnect=False) as db:
        server.hold = True
        pinging = start(db.ping())
        await server.arrived(messages.Ping)
        server.connection.cut()
        with pytest.raises(ConnectionLost):
            await result(pinging)
        with pytest.raises(ConnectionLost):
            await db.ping()
    assert len(server.connections) == 1


async def test_a_request_that_the_close_code_blames_is_not_sent_again() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.hold = True
        pinging = start(db.ping())
        await server.arrived(messages.Ping)
        server.hold = False
        server.connection.cut(1009, "too big")
        with pytest.raises(ConnectionLost, match="1009"):
            await result(pinging)
        await db.ping()


ADD = binary.encode_add(1, 1, RowBatch(np.zeros((1, 2), np.float32)))


@pytest.mark.parametrize("rubbish", [b"{", b'{"id":1}', b"\xdb\x01\x02", b"hello", b"", ADD])
async def test_what_cannot_be_read_ends_the_connection_not_the_client(rubbish: bytes) -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.connection.push(rubbish)
        await eventually(lambda: not server.connections[0].is_open)
        await db.ping()
    assert len(server.connections) == 2


async def test_unknown_events_are_passed_over() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.connection.event("news", about="tomorrow")
        server.connection.push(text_replies.encode_ok(99, {"nobody": "asked"}))
        await db.ping()
    assert len(server.connections) == 1


async def test_a_server_that_breaks_at_every_greeting_is_not_hammered() -> None:
    """Each failed attempt doubles the bound of the wait before the next."""
    bounds: list[float] = []

    class Watched(Backoff):
        def delay_seconds(self, attempt: int, uniform: float) -> float:
            bounds.append(self.bound_seconds(attempt))
            return 0.0

    server = FakeServer()
    async with client_of(server, backoff=Watched(0.1, 1.0)) as db:
        server.refusals = [ConnectionResetError("no")] * 5
        server.connection.cut()
        await db.ping()
        assert bounds == [0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
        server.connection.cut()
        await eventually(lambda: len(server.connections) == 3)
    assert bounds[6:] == [0.1]


# -- asking again -------------------------------------------------------------------------------


def refuse(times: int, error: OmenError) -> Iterator[OmenError | None]:
    yield from [error] * times
    while True:
        yield None


@pytest.mark.parametrize("error", [Overloaded, RateLimited, Unavailable, Draining])
async def test_refusals_that_may_pass_are_waited_out(error: type[OmenError]) -> None:
    server = FakeServer()
    refusals = refuse(MAX_ATTEMPTS - 1, error("later"))
    server.handlers[messages.Delete] = lambda _, request: (
        next(refusals) or {"version": 1, "deleted": 1}
    )
    async with client_of(server) as db:
        assert await db.delete("items", [1]) == 1
    assert len(server.of(messages.Delete)) == MAX_ATTEMPTS


async def test_refusals_without_end_are_the_callers() -> None:
    server = FakeServer()
    server.handlers[messages.Ping] = lambda _, request: Overloaded("busy")
    async with client_of(server) as db:
        with pytest.raises(Overloaded):
            await db.ping()
    assert len(server.of(messages.Ping)) == MAX_ATTEMPTS


@pytest.mark.parametrize("error", [Internal("boom"), NotFound("no"), Forbidden("no")])
async def test_other_refusals_are_not_repeated(error: OmenError) -> None:
    server = FakeServer()
    server.handlers[messages.Delete] = lambda _, request: error
    async with client_of(server) as db:
        with pytest.raises(type(error)):
            await db.delete("items", [1])
    assert len(server.of(messages.Delete)) == 1


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    error = RateLimited("slow down", retry_after_ms=250)
    assert retry_seconds(error, 1, 0.0) == 0.25
    assert retry_seconds(Overloaded("busy"), 1, 0.0) == 0.0


@pytest.mark.parametrize("error", [Overloaded, RateLimited])
def test_those_who_are_refused_together_do_not_come_back_together(
    error: type[OmenError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "RETRY", Backoff(base_seconds=0.05, cap_seconds=2.0))
    asked = error("busy", retry_after_ms=400)
    assert [retry_seconds(asked, 1, one) for one in (0.0, 0.5)] == pytest.approx([0.4, 0.6])
    assert retry_seconds(asked, 6, 0.5) == pytest.approx(1.2), "the longer it lasts, the wider"
    assert retry_seconds(error("busy", retry_after_ms=60_000), 1, 0.5) == 61.0


async def test_a_call_waits_as_long_as_an_overloaded_server_asks_and_no_longer_than_it_has() -> (
    None
):
    server = FakeServer()
    refusals = refuse(1, Overloaded("busy", retry_after_ms=30))
    server.handlers[messages.Ping] = lambda _, request: next(refusals) or {}
    loop = asyncio.get_running_loop()
    async with client_of(server) as db:
        began = loop.time()
        await db.ping()
        assert loop.time() - began >= 0.03
    server.handlers[messages.Ping] = lambda _, request: Overloaded("busy", retry_after_ms=30_000)
    async with client_of(server, request_timeout_seconds=20) as db:
        with pytest.raises(Overloaded):
            await db.ping()
    assert len(server.of(messages.Ping)) == 3


def test_back_off_doubles_up_to_its_cap_and_never_overflows() -> None:
    backoff = Backoff(base_seconds=0.1, cap_seconds=10.0)
    assert [backoff.bound_seconds(attempt) for attempt in (0, 1, 2, 6, 7, 10_000)] == [
        0.1, 0.2, 0.4, 6.4, 10.0, 10.0,
    ]  # fmt: skip
    assert backoff.delay_seconds(3, 0.0) == 0.0
    assert backoff.delay_seconds(3, 0.5) == 0.4
    with pytest.raises(BadRequest, match=r"^base_seconds: "):
        Backoff(base_seconds=2.0, cap_seconds=1.0)


async def test_an_error_keeps_its_class_row_and_details() -> None:
    server = FakeServer()
    server.handlers[messages.Update] = lambda _, request: NotFound("id", row=3, more="x")
    async with client_of(server) as db:
        with pytest.raises(NotFound) as caught:
            await db.update("items", [1], [{}])
    assert caught.value.row == 3
    assert caught.value.details == {"more": "x"}


# -- timeouts and cancelling --------------------------------------------------------------------


async def test_a_call_without_an_answer_times_out_and_nothing_is_wedged() -> None:
    server = FakeServer()
    server.handlers[messages.Count] = lambda _, request: None
    async with client_of(server) as db:
        with hasty(db), pytest.raises(TimeoutError, match="no answer"):
            await db.count("items")
        await db.ping()
        [count] = server.of(messages.Count)
        server.connection.push(text_replies.encode_ok(count.id, {"version": 1, "count": 1}))
        await db.ping()


async def test_a_timeout_while_disconnected_says_why_there_is_no_connection() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.refusals = [ConnectionRefusedError("nobody there")] * 1_000_000
        server.connection.cut()
        await eventually(lambda: "nobody there" in str(db._connection))
        with hasty(db), pytest.raises(TimeoutError, match="nobody there"):
            await db.ping()


async def test_the_id_of_a_request_is_not_used_again_before_its_answer() -> None:
    server = FakeServer()
    server.handlers[messages.Count] = lambda _, request: None
    async with client_of(server) as db:
        await db.open("items")
        server.requests.clear()
        link = await db._connection.ready()
        link._last_id = MAX_U32 - 1
        waiting = [start(db.count("items")) for _ in range(3)]
        await server.arrived(messages.Count, 3)
        link._last_id = MAX_U32 - 1
        await db.ping()
        ids = [one.id for one in server.requests]
        assert ids == [MAX_U32, 0, 1, 2]
        for task in waiting:
            task.cancel()


async def test_a_cancelled_call_leaves_the_others_alone() -> None:
    server = FakeServer()
    server.handlers[messages.Count] = lambda _, request: {"version": 1, "count": request.id}
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        calls = [start(db.count("items")) for _ in range(3)]
        await server.arrived(messages.Count, 3)
        calls[1].cancel()
        server.answer_all()
        with pytest.raises(asyncio.CancelledError):
            await result(calls[1])
        assert await result(calls[0]) + 2 == await result(calls[2])


async def test_closing_ends_what_waits() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.hold = True
        calls = [start(db.ping()), start(db.add("items", [[1, 2]], ids=[1]))]
        await server.arrived(messages.Ping)
        await db.close()
        for call in calls:
            with pytest.raises(ConnectionLost, match="closed"):
                await result(call)
        with pytest.raises(ConnectionLost, match="closed"):
            await db.ping()


async def test_closing_while_disconnected_ends_what_waits() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.refusals = [ConnectionRefusedError("no")] * 1_000_000
        server.connection.cut()
        await eventually(lambda: len(server.refusals) < 999_990)
        call = start(db.ping())
        await asyncio.sleep(0)
        await db.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await result(call)


# -- handles ------------------------------------------------------------------------------------


def results(request: messages.Search, version: int = 1) -> bytes:
    """An answer of one row to a search."""
    hits = Hits(np.array([7], np.uint64), np.array([1], np.uint64), np.array([0.5], np.float32))
    found = messages.Results(version, np.array([1], np.uint32), hits, took_us=5)
    return binary_replies.encode_results(request.id, found)


def searching(server: FakeServer) -> None:
    server.handlers[messages.Search] = lambda _, request: (
        results(request) if request.collection == server.handle else NotFound("handle")
    )


async def search(db: Client) -> list[int]:
    return (await db.search("items", [1.0, 0.0])).ids.tolist()


async def test_a_collection_is_opened_once_a_connection_however_many_need_it() -> None:
    server = FakeServer()
    searching(server)
    async with client_of(server) as db:
        assert await asyncio.gather(*[search(db) for _ in range(20)]) == [[7]] * 20
        assert len(server.of(messages.Open)) == 1
        server.connection.cut()
        server.handle = 9
        assert await search(db) == [7]
        assert len(server.of(messages.Open)) == 2


async def test_a_stale_handle_is_opened_again_once() -> None:
    server = FakeServer()
    searching(server)
    async with client_of(server) as db:
        await search(db)
        server.handle = 2
        assert await search(db) == [7]
        server.handlers[messages.Search] = lambda _, request: NotFound("gone")
        with pytest.raises(NotFound, match="gone"):
            await search(db)
        assert len(server.of(messages.Open)) == 3


async def test_a_collection_that_is_gone_is_not_found() -> None:
    server = FakeServer()
    searching(server)
    async with client_of(server) as db:
        await search(db)
        server.handle = 2
        server.handlers[messages.Open] = lambda _, request: NotFound("items")
        with pytest.raises(NotFound, match="items"):
            await search(db)


async def test_a_collection_made_anew_with_another_dimension_is_noticed() -> None:
    server = FakeServer()
    searching(server)
    async with client_of(server) as db:
        await search(db)
        server.description, server.handle = FakeServer(dim=3).description, 2
        assert (await db.search("items", [1, 2, 3])).ids.tolist() == [7]


async def test_opening_is_not_hurt_by_the_call_that_began_it_being_cancelled() -> None:
    server = FakeServer()
    searching(server)
    async with client_of(server) as db:
        server.hold = True
        first, second = start(search(db)), start(search(db))
        await server.arrived(messages.Open)
        first.cancel()
        server.answer_all()
        assert await result(second) == [7]
