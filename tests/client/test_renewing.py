"""``get_token`` against the end of a token: renewed in time, or said and tried again, at a pace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from omendb_core.model.errors import Forbidden, Unauthenticated

from omendb_ws import Backoff, errors
from omendb_ws.client import dialer
from omendb_ws.client.tokens import in_a_thread, on_this_loop
from omendb_ws.wire import messages, text_replies

from .fake import FakeServer, client_of, eventually, hasty
from .test_tokens import Tokens, needing, ping_for_ever

NEVER = asyncio.Event()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server announces is heeded at once."""
    monkeypatch.setattr("omendb_ws.client.dialer.LEAST_RENEW_SECONDS", 0.0)
    monkeypatch.setattr("omendb_ws.client.dialer.NOTICED_PART", 0.0)


def says(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], bool]:
    return lambda: any(text in one.getMessage() for one in caplog.records)


@pytest.mark.usefixtures("at_once")
async def test_an_end_that_is_announced_is_answered_by_a_newer_token() -> None:
    server = needing(expires_in_s=600)
    async with client_of(server, ask_token=on_this_loop(Tokens())) as db:
        for turn in (1, 2):
            server.connection.event("expiring", expires_in_s=30)
            assert (await server.arrived(messages.Auth, turn)).token == f"t{turn + 1}"
            await db.ping()
    assert len(server.connections) == 1


async def test_a_token_shorter_than_the_notice_is_used_for_half_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server announces its end as soon as it is shown."""
    waits: list[float] = []

    class Link:
        expiring = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    Link.expiring.set()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for expires_in_s in (20.0, 600.0, 0.5):
        await dialer._due(Link(), expires_in_s)  # type: ignore[arg-type]
    assert waits == pytest.approx([10.0, 300.0, 1.0], abs=0.2)


@pytest.mark.usefixtures("at_once")
async def test_one_that_does_not_answer_is_said_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Callable[[], Awaitable[Any]]] = []

    async def get_token() -> Any:
        return await answers.pop(0)() if answers else "good"

    server = needing(expires_in_s=600)
    options = {"ask_token": on_this_loop(get_token), "open_timeout_seconds": 0.05}
    answers.append(NEVER.wait)
    with pytest.raises(TimeoutError, match=r"get_token has not answered within 0\.05 s"):
        async with client_of(server, **options):
            pass
    async with client_of(server, **options) as db:
        answers += [NEVER.wait] * 2
        server.connection.event("expiring", expires_in_s=30)
        await server.arrived(messages.Auth)
        assert answers == []
        assert says(caplog, "no new token: get_token has not answered within")()
        assert len(server.connections) == 1
        # The same where the connection is gone.
        answers += [NEVER.wait] * 2
        server.connection.cut()
        await eventually(lambda: "get_token has not answered" in str(db._connection))
        await db.ping()


async def test_a_thread_that_does_not_answer_is_waited_for_and_no_other_is_begun() -> None:
    release, calls = threading.Event(), []

    def get_token() -> str:
        calls.append(threading.current_thread())
        release.wait()
        return f"t{len(calls)}"

    ask = in_a_thread(get_token)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ask()
    release.set()
    assert await asyncio.gather(ask(), ask()) == ["t1", "t1"]
    assert await ask() == "t2"
    # One that hangs for good does not keep the interpreter from ending.
    assert [thread.daemon for thread in calls] == [True] * 2


@pytest.mark.usefixtures("at_once")
async def test_a_token_of_another_tenant_is_said_and_another_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tenants = {"t1": "acme", "t4": "acme", "t7": "acme"}
    server = needing(auth="required")

    def auth(transport: Any, request: messages.Auth) -> Any:
        tenant = tenants.get(request.token, "other")
        if len(transport.requests) > 1 and tenant != "acme":
            return Forbidden("token: of another tenant than this connection's; connect anew")
        return {"tenant": tenant, "expires_in_s": 600}

    server.handlers[messages.Auth] = auth
    async with client_of(server, ask_token=on_this_loop(Tokens())) as db:
        server.connection.event("expiring", expires_in_s=30)
        await server.arrived(messages.Auth, 4)
        assert says(caplog, "no new token: token: of another tenant")()
        assert len(server.connections) == 1
        # A new connection would take it, but the subscriptions are of the first tenant.
        server.connection.cut()
        await db.ping()
    assert [one.token for one in server.of(messages.Auth)] == [f"t{n}" for n in range(1, 8)]
    assert says(caplog, "a token of the tenant other; this client is one of acme")()
    assert [one.is_open for one in server.connections] == [False] * 4


def recording(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The attempts before which the client waits, each as if it were the first."""
    attempts: list[int] = []

    def delay_seconds(self: Backoff, attempt: int, uniform: float) -> float:
        attempts.append(attempt)
        return 0.0

    monkeypatch.setattr(Backoff, "delay_seconds", delay_seconds)
    return attempts


def expire(server: FakeServer) -> None:
    server.connection.push(text_replies.encode_error(None, Unauthenticated("has expired")))
    server.connection.cut(4401)


async def test_tokens_that_end_at_once_are_asked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are accepted, and over with the next request."""
    attempts, server = recording(monkeypatch), needing(expires_in_s=600)
    options = {"backoff": Backoff(), "ask_token": on_this_loop(Tokens())}
    async with client_of(server, **options) as db:
        for _ in range(5):
            await db.ping()
            expire(server)
            count = len(server.connections)
            await eventually(lambda count=count: len(server.connections) > count)
        await db.ping()
    assert attempts == [1, 2, 3, 4, 5]


async def test_the_same_expired_token_ends_the_client_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts, server = recording(monkeypatch), needing(auth="required")
    good = True
    server.handlers[messages.Auth] = lambda _, request: (
        {"expires_in_s": 600} if good else Unauthenticated("token: not known")
    )
    async with client_of(server, ask_token=on_this_loop(lambda: "same")) as db:
        good = False
        await db.ping()
        expire(server)
        with pytest.raises(errors.Unauthenticated, match="not known"), hasty(db, 60.0):
            await ping_for_ever(db)
    assert len(server.of(messages.Auth)) == 4
    assert len(attempts) == 3


async def test_one_that_throws_for_long_is_asked_at_the_pace_of_reconnecting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts, server, source = recording(monkeypatch), needing(expires_in_s=600), Tokens()
    async with client_of(server, ask_token=on_this_loop(source)) as db:
        await db.ping()
        source.faults = [ValueError("away")] * 20
        expire(server)
        await db.ping()
    assert attempts == [*range(1, 22)] or attempts == [*range(21)]
