"""What subscriptions take is their owners' time: shares by weight, budgets, and who waits for whom.

Clocks are the tests': what a piece takes is said, and not measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from omendb_core.model.types import Include

from omendb_ws.engine.model.shares import SLACK_US, Share, Shares
from omendb_ws.engine.model.ticket import Lane, Ticket
from omendb_ws.engine.pieces.long_reads import LongReads
from omendb_ws.engine.streams.deliveries import GROUP_STREAMS, Deliveries, Push, Stream
from omendb_ws.engine.streams.owners import EACH_US, Owners
from omendb_ws.net.server import Server
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.tenants.share import TenantShare
from omendb_ws.wire.encoded import Message, text
from omendb_ws.wire.opcodes import Limits
from tests.server.engine.test_shares import FakeClock, endless, lanes_of
from tests.server.raw import client, engine_held, rows, running, with_keys


class Maker:
    """Each push takes what its tenant's do."""

    def __init__(self, clock: FakeClock, each_us: dict[TenantShare, float]) -> None:
        self._clock, self._each_us = clock, each_us

    def make(self, streams: Sequence[Any], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
        for stream in streams:
            self._clock.now_ns += round(self._each_us[stream.lane.share.tenant] * 1000)
            yield stream, [text(b"{}")]


def stream_of(maker: Maker, lane: Lane, sub: int) -> Stream:
    reader = cast(Any, SimpleNamespace(lane=lane, sub=sub))
    shard = cast(Any, SimpleNamespace(broken=None, is_dropped=False))
    stream = Stream(cast(Any, maker), reader, shard, False, Include(), 100)
    stream.is_active = True
    return stream


class Side:
    """Subscriptions that always have something to say, and their sockets take everything."""

    def __init__(self, weights: Sequence[float], counts: Sequence[int], each_us: float) -> None:
        self.clock, self.shares = FakeClock(), Shares()
        self.deliveries = Deliveries(Metrics(0.0), Limits(), self.shares, self.clock)
        self.tenants = [TenantShare(weight) for weight in weights]
        # Alike, as pushes made together are told apart by their bytes only.
        self.maker = Maker(self.clock, dict.fromkeys(self.tenants, each_us))
        for tenant, count in zip(self.tenants, counts, strict=True):
            (lane,) = lanes_of(tenant, 1)
            for sub in range(count):
                self.deliveries.ready(stream_of(self.maker, lane, sub))
        self.pushes: Counter[TenantShare] = Counter()

    def push(self) -> None:
        effects: list[Any] = []
        self.deliveries.push(effects, 0)
        for push in cast(list[Push], effects):
            self.pushes[push.stream.lane.share.tenant] += 1
            self.deliveries.sent(push)

    @property
    def used(self) -> list[float]:
        """What part of the whole each tenant had, by what it is charged for."""
        whole = sum(tenant.used_us for tenant in self.tenants)
        return [tenant.used_us / whole for tenant in self.tenants]


def test_pushes_of_ten_thousand_and_of_fewer_are_shared_by_weight() -> None:
    side = Side([1.0, 2.0, 4.0], [10_000, 1_000, 500], each_us=20.0)
    for _ in range(400):
        side.push()
        side.shares.end_tick((), side.deliveries.waiting())
    assert side.used == pytest.approx([1 / 7, 2 / 7, 4 / 7], rel=0.1)
    counts = [side.pushes[tenant] for tenant in side.tenants]
    assert [count / sum(counts) for count in counts] == pytest.approx(side.used, rel=0.1)


def test_pushes_catching_up_and_requests_are_shared_by_weight() -> None:
    """One tenant is pushed to, another has lists kept up to date, the third reads."""
    side = Side([1.0, 2.0, 4.0], [10_000, 0, 0], each_us=20.0)
    clock, shares, pieces = side.clock, side.shares, Counter[str]()
    pushed, kept, reads = side.tenants
    refuse = cast(Any, lambda work, error: pytest.fail(str(error)))
    long_reads = LongReads(refuse, lambda work: None, shares, clock)
    (lane,) = lanes_of(reads, 1)
    asker = cast(Any, SimpleNamespace(lane=lane))
    work = cast(Any, SimpleNamespace(ticket=Ticket(asker, 0, "search", None, 0, 0, 0, 0, 0)))
    long_reads.begin(work, endless(clock, 700.0, pieces, "reads"))
    owners = Owners(shares, [Standing(lanes_of(kept, 1) * 50)])
    for _ in range(2_000):
        if shares.may_tenant(kept):
            owners.charge(HERE, 1_500.0)
        long_reads.run([])
        side.push()
        waiting = (one.share for one in long_reads.lanes())
        shares.end_tick(waiting, side.deliveries.waiting(), [kept])
    assert side.used == pytest.approx([1 / 7, 2 / 7, 4 / 7], rel=0.1)
    assert pushed.used_us == pytest.approx(20.0 * side.pushes[pushed])


def test_who_asks_is_served_beside_ten_thousand_subscriptions_of_others() -> None:
    """Behind a group of pushes, and no more of them, once it waits."""
    side = Side([1.0], [10_000], each_us=20.0)
    light = Share(TenantShare())
    for _ in range(20):
        side.push()
        side.shares.end_tick((), side.deliveries.waiting())
    (many,) = side.tenants
    assert side.shares.may(light)
    before = side.pushes[many]
    side.push()
    side.shares.end_tick([light], side.deliveries.waiting())
    while side.shares.may_tenant(many):
        side.push()
        side.shares.end_tick([light], side.deliveries.waiting())
    told_us = 20.0 * (side.pushes[many] - before)
    assert told_us <= SLACK_US + 2 * 20.0 * GROUP_STREAMS


HERE: Any = object()


class Standing:
    """Streams of a collection, by their connections."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._streams = [cast(Any, SimpleNamespace(lane=lane)) for lane in lanes]

    def standing(self, shard: Any) -> list[Stream]:
        return self._streams


def test_connections_bear_what_their_standing_queries_are_of_all() -> None:
    shares = Shares()
    tenant = TenantShare()
    many, few, writer = lanes_of(tenant, 3)
    owners = Owners(shares, [Standing([many] * 9), Standing([few])])
    shares.end_tick([many.share, few.share, writer.share])
    for _ in range(100):
        owners.charge(HERE, 10 * EACH_US)
    took_us = 100 * 10 * EACH_US
    assert tenant.used_us == pytest.approx(took_us)
    charged = [lane.share.start_us for lane in (many, few, writer)]
    assert charged == pytest.approx([0.9 * took_us, 0.1 * took_us, 0.0])
    assert [lane.share.used_us for lane in (many, few)] == [0.0, 0.0], "they are no requests"


def test_what_a_connection_owes_is_bounded_and_dividing_it_is_seldom() -> None:
    shares = Shares()
    lanes = lanes_of(TenantShare(), 1_000)
    looked = 0

    class Counting(Standing):
        def standing(self, shard: Any) -> Any:
            nonlocal looked
            found = super().standing(shard)

            class Watched(list[Any]):
                def __iter__(self) -> Any:
                    for one in list.__iter__(self):
                        nonlocal looked
                        looked += 1
                        yield one

            return Watched(found)

    owners = Owners(shares, [Counting(lanes)])
    shares.end_tick([lanes[0].share])
    for turn in range(1, 1_001):
        owners.charge(HERE, 50.0)
        owed_us = 50.0 * turn / len(lanes) - lanes[0].share.start_us
        assert -1e-6 <= owed_us <= EACH_US
    took_us = 50.0 * 1_000
    assert looked * EACH_US <= took_us + 1_000 * EACH_US + 1_000, "one look for each charge beside"


async def test_what_pushes_take_is_their_tenants_time_and_no_requests(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create()
        asked = {"collection": "items", "kind": "feed"}
        sub = (await raw.ok("subscribe", **asked))["sub"]
        (session,) = server._sessions.values()
        share = session.lane.share
        now_ns = 0

        def clock_ns() -> int:
            nonlocal now_ns
            now_ns += 1_000_000_000
            return now_ns

        deliveries = server.context.engine.tick.deliveries
        async with engine_held(server):
            deliveries._clock_ns = clock_ns
            before_us, own_us = share.tenant.used_us, share.used_us
            id = await raw.send("add", collection="items", rows=rows(1))
        await raw.reply(id)
        pushed = await raw.event(lambda one: one.get("sub") == sub)
        assert pushed["event"] == "feed"
        assert share.tenant.used_us - before_us >= 1e6
        assert share.used_us - own_us < 1e6


async def test_a_collection_whose_tenant_is_far_ahead_catches_up_when_others_had_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        asked = {"collection": "items", "kind": "live", "vector": [1.0, 0.0], "k": 3}
        sub = (await raw.ok("subscribe", **asked))["sub"]
        tick = server.context.engine.tick
        (shard,) = server.context.catalog.shards()
        catch_one_up, noted = tick.standing._catch_up, []

        def may_tenant(_: TenantShare) -> bool:
            noted.append("asked")
            return len(noted) > 3

        def caught_up(*arguments: Any) -> None:
            noted.append("caught up" if shard.is_catching_up else "was not held")
            catch_one_up(*arguments)

        monkeypatch.setattr(tick._shares, "may_tenant", may_tenant)
        monkeypatch.setattr(tick.standing, "_catch_up", caught_up)
        await raw.add(1, 2, 3)
        pushed = await raw.event(lambda one: one.get("sub") == sub)
        assert len(pushed["enter"]) == 3
        async with engine_held(server):
            assert noted[:5] == ["asked", "asked", "asked", "asked", "caught up"]
            assert not shard.is_catching_up
