"""``get_token`` against a server: streams go on from token to token, and across an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import omendb_ws
import omendb_ws.sync
from omendb_ws.net.server import Server
from tests import patience
from tests.server.raw import running
from tests.server.tokens import token, with_secret

from .fake import eventually

PATIENCE_SECONDS = patience.PATIENCE_SECONDS
ROWS = 60


class Source:
    """Tokens that are good for so long, and how many were given out."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        return token(exp=time.time() + self.seconds, jti=str(self.given))


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers announce the end of a token as soon as they see it, and clients heed that soon."""
    monkeypatch.setattr("omendb_ws.sessions.identity.NOTICE_SECONDS", 10_000.0)
    monkeypatch.setattr("omendb_ws.client.dialer.LEAST_RENEW_SECONDS", 0.01)
    monkeypatch.setattr("omendb_ws.client.dialer.NOTICED_PART", 0.0)


def feed_ids(items: Iterator[Any]) -> Iterator[int]:
    """Ids in the order in which they come; a gap is none."""
    for item in items:
        assert not isinstance(item, omendb_ws.Gap), item
        yield from (int(row.id) for row in item)


def follow(url: str, source: Source, goes_on: Callable[[], bool]) -> tuple[int, list[int], bool]:
    """Add a row whenever the one before came by a feed and a live query; their number, the ids
    of the feed, and whether one connection did it all."""
    with omendb_ws.sync.connect(url, get_token=source) as db:
        link = db._aio._connection._link
        live = iter(db.live("items", [1.0, 0.0], k=1))
        feed = feed_ids(iter(db.feed("items", from_seq=1, epoch=db.open("items").epoch)))
        seen: list[int] = []
        next(live)
        while goes_on():
            added = len(seen)
            db.add("items", [[1.0 + added, 0.0]], ids=[added])
            seen.append(next(feed))
            while next(live).ids[0] != added:
                pass
            assert db.count("items") == added + 1
        return len(seen), seen, db._aio._connection._link is link


async def created(url: str) -> None:
    async with omendb_ws.connect(url, token()) as db:
        await db.create("items", dim=2, capacity=10_000, metric="dot")


@pytest.mark.usefixtures("announced")
async def test_streams_go_on_from_token_to_token(tmp_path: Path) -> None:
    """Of a synchronous client, and the asyncio client below it; on one connection."""
    source = Source(600)
    async with running(Server(with_secret(tmp_path))) as server:
        await created(server.url)
        count, seen, is_same = await asyncio.to_thread(
            follow, server.url, source, lambda: source.given < 12
        )
    assert seen == [*range(count)]
    assert is_same


async def test_streams_go_on_though_tokens_end(tmp_path: Path) -> None:
    """However late the machine renews one: what a connection that has ended missed is caught up."""
    source = Source(1.5)
    async with running(Server(with_secret(tmp_path, jwt_leeway_seconds=0.0))) as server:
        await created(server.url)
        count, seen, _ = await asyncio.to_thread(
            follow, server.url, source, lambda: source.given < 4
        )
    assert seen == [*range(count)]


@pytest.mark.usefixtures("announced")
async def test_a_waiting_read_goes_on_while_tokens_follow_each_other(tmp_path: Path) -> None:
    source = Source(600)
    async with running(Server(with_secret(tmp_path))) as server:
        await created(server.url)
        async with omendb_ws.connect(server.url, get_token=source) as db:
            epoch = (await db.open("items")).epoch  # from the first row, whenever it attaches
            feed = aiter(db.feed("items", from_seq=1, epoch=epoch))
            waiting = asyncio.ensure_future(anext(feed))
            while source.given < 6:
                await db.ping()
            assert not waiting.done()
            await db.add("items", [[1.0, 0.0]], ids=[7])
            async with asyncio.timeout(PATIENCE_SECONDS):
                item = await waiting
            assert not isinstance(item, omendb_ws.Gap)
            assert [int(row.id) for row in item] == [7]
        assert server.context.metrics.errors.total() == 0


async def test_an_end_without_another_token_is_waited_out(tmp_path: Path) -> None:
    """The server closes with 4401; what stood goes on once there is a token again."""
    source, is_away = Source(600), False

    def get_token() -> str:
        if is_away:
            raise OSError("the vault is away")
        return source()

    async with running(Server(with_secret(tmp_path))) as server:
        await created(server.url)
        async with omendb_ws.connect(server.url, get_token=get_token) as db:
            epoch = (await db.open("items")).epoch  # from the first row, whenever it attaches
            feed = aiter(db.feed("items", from_seq=1, epoch=epoch))
            waiting = asyncio.ensure_future(anext(feed))
            await db.ping()
            is_away = True
            for session in [*server._sessions.values()]:
                session._expired()
            await eventually(lambda: "the vault is away" in str(db._connection))
            async with omendb_ws.connect(server.url, token()) as other:
                await other.add("items", [[1.0, 0.0]], ids=[1])
            is_away = False
            async with asyncio.timeout(PATIENCE_SECONDS):
                item = await waiting
            assert not isinstance(item, omendb_ws.Gap)
            assert [int(row.id) for row in item] == [1]
