"""Match queries that hear of nothing: all of them in time how far the window is, and no other."""

from __future__ import annotations

import pytest

from omendb_ws.engine.streams import silence
from omendb_ws.net.server import Server
from omendb_ws.wire.messages import Rows
from tests.patience import eventually
from tests.server.live_view import Matched, match, sub_of
from tests.server.raw import Clock, Raw, client, running, settings

#: PROTOCOL section 6.
AT_LEAST_EVERY_SECONDS = 5.0
STEP_SECONDS = 0.25


async def queries_of(raw: Raw, count: int, encoding: str) -> list[Matched]:
    """Some that a row of (1, 0) reaches, the first of them, and others that no row does."""
    made = [await match(raw, [1.0, 0.0], 0.5, encoding=encoding)]
    return [*made, *[await match(raw, [1.0, 0.0], 1e9, encoding=encoding) for _ in range(count)]]


@pytest.mark.parametrize("encoding", ["json", "binary"])
async def test_each_hears_within_five_seconds_how_far_the_window_is(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "AT_ONCE", 4)  # a connection's take several goes
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as other:
        await raw.create(metric="dot", capacity=1000)
        queries = await queries_of(raw, 9, encoding) + await queries_of(other, 2, encoding)
        heard_at = dict.fromkeys(map(id, queries), 0.0)
        now, row = 0.0, 0
        while now < 14.0:
            clock.move(STEP_SECONDS)
            now += STEP_SECONDS
            if now % 1.0 == 0:
                row += 1
                await raw.ok(
                    "add", collection="items", rows=[{"id": row, "vector": [now % 3.0 - 1, 0.0]}]
                )
            for reader in (raw, other):
                # Behind it is all that a tick of now says; the ticks after it say the rest.
                for _ in range(4):
                    await reader.ok("count", collection="items")
                for event in reader.events:
                    (query,) = (
                        one for one in queries if one.raw is reader and one.sub == sub_of(event)
                    )
                    query.apply(event)
                    heard_at[id(query)] = now
                reader.events.clear()
            assert all(now - at <= AT_LEAST_EVERY_SECONDS for at in heard_at.values())
        assert all(query.to_seq > 5 for query in queries)
        assert all(not query.rows for query in queries if query not in (queries[0], queries[10]))
        # Not much more often than that, either.
        assert all(query.pushes <= 4 for query in queries[1:10])


async def test_circles_go_with_their_queries() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(metric="dot", capacity=1000)
        circles = server.context.engine.matches._silence
        queries = await queries_of(raw, 4, "binary")
        async with client(server) as other:
            await queries_of(other, 2, "json")
            assert len(circles) == 2
        await eventually(lambda: len(circles) == 1)
        ended = queries.pop(2)
        await raw.ok("unsubscribe", sub=ended.sub)
        await raw.ok("add", collection="items", rows=[{"id": 1, "vector": [0.0, 1.0]}])
        clock.move(5)
        await raw.ok("count", collection="items")
        for query in queries:
            await query.until(1)
        assert not any(isinstance(one, Rows) for one in raw.events)
        for query in queries:
            await raw.ok("unsubscribe", sub=query.sub)
        await eventually(lambda: len(circles) == 0)
        clock.move(50)
        await raw.ok("count", collection="items")
        assert raw.events == []
