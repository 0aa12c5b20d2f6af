"""Shares of the engine's time: by weight, then alike, and nobody waits for ever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omendb_ws.engine.model.shares import SLACK_US, Share, Shares
from omendb_ws.engine.model.ticket import Counts, Lane, Reply, Ticket
from omendb_ws.engine.pieces.long_reads import SLICE_US, LongReads
from omendb_ws.engine.read_weights import QUERY_US, TICK_QUERIES
from omendb_ws.engine.waiting import WaitingReads
from omendb_ws.engine.writes.commands import Add
from omendb_ws.engine.writes.preparing import Preparing
from omendb_ws.net.server import Server
from omendb_ws.tenants.share import TenantShare
from tests.server.engine.test_waiting import HERE, lanes_of, read
from tests.server.raw import client, running
from tests.server.tenant_files import limits, with_tenants

PIECE_US = 5_000.0


def serve(shares: Shares, waiting: list[Share], pieces: int, numbers: random.Random) -> Counter:
    """So many pieces of whoever is next; what each got, in microseconds."""
    got: Counter[Share] = Counter()
    for _ in range(pieces):
        shares.end_tick(waiting)
        share = min(waiting, key=shares.place)
        assert shares.may(share)
        took_us = numbers.uniform(1.0, PIECE_US)
        shares.charge(share, took_us)
        got[share] += took_us
    return got


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.integers(1, 4)), min_size=2),
    st.integers(0, 2**32),
)
def test_tenants_that_wait_get_time_by_weight_and_their_connections_alike(
    made: list[tuple[float, int]], seed: int
) -> None:
    shares, numbers = Shares(), random.Random(seed)
    tenants = [TenantShare(weight) for weight, _ in made]
    connections = {
        tenant: [Share(tenant) for _ in range(count)]
        for tenant, (_, count) in zip(tenants, made, strict=True)
    }
    everyone = [share for some in connections.values() for share in some]
    got = serve(shares, everyone, 400, numbers)
    normal = [sum(got[one] for one in connections[tenant]) / tenant.weight for tenant in tenants]
    least_weight = min(tenant.weight for tenant in tenants)
    assert max(normal) - min(normal) <= PIECE_US / least_weight
    for some in connections.values():
        each = [got[one] for one in some]
        assert max(each) - min(each) <= PIECE_US


def test_weights_of_one_two_and_four_are_shares_of_one_two_and_four() -> None:
    shares = Shares()
    tenants = [TenantShare(weight) for weight in (1.0, 2.0, 4.0)]
    waiting = [Share(tenant) for tenant in tenants]
    got = serve(shares, waiting, 2_000, random.Random(1))
    whole = sum(got.values())
    assert [round(got[one] / whole * 7, 1) for one in waiting] == [1.0, 2.0, 4.0]


def test_one_connection_that_has_more_to_do_than_a_tick_does_contends_with_nobody() -> None:
    shares, numbers = Shares(), random.Random(3)
    alone, newcomer = Share(TenantShare()), Share(TenantShare())
    for _ in range(50):
        shares.charge(alone, PIECE_US)
        shares.end_tick([alone, alone])
        assert not shares.is_contended
    assert alone.used_us == alone.tenant.used_us == 50 * PIECE_US
    got = serve(shares, [alone, newcomer], 200, numbers)  # it owes nothing for having been alone
    shares.charge(alone, 1.0)
    shares.charge(newcomer, 1.0)
    shares.end_tick([alone])
    assert shares.is_contended, "another had its time as well"
    assert abs(got[alone] - got[newcomer]) <= PIECE_US


def test_nobody_saves_time_up_by_having_nothing_to_do() -> None:
    shares, numbers = Shares(), random.Random(2)
    busy, idle = Share(TenantShare()), Share(TenantShare())
    serve(shares, [busy], 1_000, numbers)
    got = serve(shares, [busy, idle], 100, numbers)
    assert abs(got[busy] - got[idle]) <= 2 * PIECE_US


def test_a_connection_saves_nothing_up_beside_others_of_its_tenant() -> None:
    shares, numbers = Shares(), random.Random(3)
    tenant = TenantShare()
    busy, idle = Share(tenant), Share(tenant)
    serve(shares, [busy], 1_000, numbers)
    got = serve(shares, [busy, idle], 100, numbers)
    assert abs(got[busy] - got[idle]) <= 2 * PIECE_US


def test_who_asks_for_little_is_next_whenever_it_asks() -> None:
    shares, numbers = Shares(), random.Random(4)
    heavy = [Share(TenantShare()) for _ in range(5)]
    light = Share(TenantShare())
    for _ in range(200):
        serve(shares, heavy, numbers.randrange(6, 12), numbers)
        assert shares.place(light) <= min(map(shares.place, heavy))
        shares.charge(light, 50.0)


def test_who_is_far_ahead_waits_for_the_others() -> None:
    shares = Shares()
    ahead, behind = Share(TenantShare()), Share(TenantShare())
    shares.end_tick([ahead, behind])
    shares.charge(ahead, SLACK_US + 1)
    shares.end_tick([ahead, behind])
    assert (shares.may(ahead), shares.may(behind)) == (False, True)
    shares.charge(behind, 10.0)
    shares.end_tick([ahead, behind])
    assert shares.may(ahead)


def test_who_is_far_ahead_goes_on_where_those_behind_cannot() -> None:
    """What they wait for may be what it would do."""
    shares = Shares()
    ahead, stuck = Share(TenantShare()), Share(TenantShare())
    shares.end_tick([ahead, stuck])
    shares.charge(ahead, 1_000 * SLACK_US)
    ticks = 0
    shares.end_tick([ahead, stuck])
    while not shares.may(ahead):
        shares.end_tick([ahead, stuck])
        ticks += 1
    assert ticks <= 10


def test_who_is_far_ahead_does_not_go_on_while_others_are_told_something() -> None:
    shares = Shares()
    ahead, behind = Share(TenantShare()), Share(TenantShare())
    shares.end_tick([ahead, behind])
    shares.charge(ahead, 3 * SLACK_US)
    for _ in range(20):
        shares.end_tick([ahead, behind])
        assert not shares.may(ahead)
        shares.charge_tenant(behind.tenant, 1.0)


def test_while_nobody_waits_nothing_is_charged() -> None:
    shares = Shares()
    one, other = Share(TenantShare()), Share(TenantShare())
    shares.end_tick([])
    shares.charge(one, 1e9)
    assert shares.may(one)
    assert shares.place(one) == shares.place(other)


def reads_of(works: list[Any], shares: Shares) -> WaitingReads:
    reads = WaitingReads(shares)
    for work in works:
        reads.add(work)
    return reads


def test_one_connection_of_many_requests_has_no_more_of_a_tick_than_one_of_few() -> None:
    flood, few = Lane(), Lane()
    works = [read(flood, 8) for _ in range(100)] + [read(few, 8) for _ in range(3)]
    taken = reads_of(works, Shares()).take()
    assert [work for work in taken if work.ticket.asker.lane is few] == works[100:]


def test_a_tick_is_shared_by_vectors_and_not_by_messages() -> None:
    heavy, light = Lane(), Lane()
    works = [read(heavy, 32) for _ in range(8)] + [read(light) for _ in range(60)]
    taken = reads_of(works, Shares()).take()
    assert sum(work.ticket.asker.lane is light for work in taken) >= TICK_QUERIES // 2 - 32


def test_many_connections_of_a_tenant_have_no_more_of_a_tick_than_one_of_another() -> None:
    many = lanes_of(TenantShare(), 30)
    alone = lanes_of(TenantShare(), 1)[0]
    works = [read(lane, 4) for lane in many for _ in range(4)]
    works += [read(alone, 4) for _ in range(16)]
    taken = reads_of(works, Shares()).take()
    queries = sum(4 for work in taken if work.ticket.asker.lane is alone)
    assert queries == TICK_QUERIES // 2


def test_reads_of_who_is_far_ahead_wait_and_are_still_there() -> None:
    shares = Shares()
    ahead, behind = Lane(), Lane()
    shares.end_tick([ahead.share, behind.share])
    shares.charge(ahead.share, 3 * SLACK_US)
    works = [read(ahead), read(behind)]
    reads = reads_of(works, shares)
    shares.end_tick([ahead.share, behind.share])
    assert reads.take() == [works[1]]
    assert reads.has_more
    assert list(reads.first_lanes()) == [ahead]


def test_before_a_drop_reads_of_who_is_far_ahead_are_taken_too() -> None:
    shares = Shares()
    ahead, behind = Lane(), Lane()
    shares.end_tick([ahead.share, behind.share])
    shares.charge(ahead.share, 3 * SLACK_US)
    shares.end_tick([ahead.share, behind.share])
    work = read(ahead)
    assert reads_of([work], shares).take(HERE) == [work]


class FakeClock:
    """Nanoseconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def endless(clock: FakeClock, took_us: float, count: Counter[str], name: str) -> Any:
    """Steps that never end, each so long."""

    def steps() -> Generator[bool, None, Reply]:
        while True:
            clock.now_ns += int(took_us * 1000)
            count[name] += 1
            yield True

    return steps()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 2.0, 4.0)])
def test_long_reads_go_on_by_the_time_that_their_pieces_take(weights: tuple[float, ...]) -> None:
    """And not by how many those are."""
    clock, shares, pieces = FakeClock(), Shares(), Counter[str]()
    refuse = cast(Any, lambda work, error: pytest.fail(str(error)))
    long_reads = LongReads(refuse, lambda work: None, shares, clock)
    each_us = {"short": 500.0, "middle": 2_000.0, "long": 4_000.0}
    lanes = []
    for (name, took_us), weight in zip(each_us.items(), weights, strict=True):
        lanes += lanes_of(TenantShare(weight), 1)
        asker = cast(Any, SimpleNamespace(lane=lanes[-1]))
        work = cast(Any, SimpleNamespace(ticket=Ticket(asker, 0, "search", None, 0, 0, 0, 0, 0)))
        long_reads.begin(work, endless(clock, took_us, pieces, name))
    for _ in range(2_000):
        long_reads.run([])
        shares.end_tick(lane.share for lane in long_reads.lanes())
    got = [pieces[name] * took_us for name, took_us in each_us.items()]
    for mine, weight in zip(got, weights, strict=True):
        assert mine / sum(got) == pytest.approx(weight / sum(weights), rel=0.02)


def test_who_waits_for_long_to_be_looked_at_keeps_nobody_from_going_on() -> None:
    """Those that are furthest behind may wait for the very read that is next after them."""
    clock, shares, pieces = FakeClock(), Shares(), Counter[str]()
    refuse = cast(Any, lambda work, error: pytest.fail(str(error)))
    long_reads = LongReads(refuse, lambda work: None, shares, clock)

    def kept_waiting() -> Generator[bool, None, Reply]:
        while not pieces["holder"]:
            clock.now_ns += SLICE_US * 1000
            yield False
        while True:
            clock.now_ns += 1_000
            pieces["waiting"] += 1
            yield True

    steps = [kept_waiting(), kept_waiting(), endless(clock, 10.0, pieces, "holder")]
    lanes = lanes_of(TenantShare(), 3)
    shares.end_tick(lane.share for lane in lanes)
    shares.charge(lanes[-1].share, SLACK_US / 2)
    for lane, each in zip(lanes, steps, strict=True):
        asker = cast(Any, SimpleNamespace(lane=lane))
        work = cast(Any, SimpleNamespace(ticket=Ticket(asker, 0, "search", None, 0, 0, 0, 0, 0)))
        long_reads.begin(work, each)
    for _ in range(10):
        long_reads.run([])
        shares.end_tick(lane.share for lane in long_reads.lanes())
    assert pieces["holder"]
    assert pieces["waiting"]


def a_collection() -> Any:
    """One more that is like no other."""

    class One:
        is_being_prepared = False
        is_dropped = True  # of which nothing is touched before
        counts = Counts()

    return One()


def test_changes_are_prepared_by_shares_and_not_by_how_many_collections_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, shares, pieces = FakeClock(), Shares(), Counter[str]()
    preparing = Preparing(shares, clock)
    many, few = (lanes_of(TenantShare(), 1)[0] for _ in range(2))

    def steps(_: Preparing, work: Add) -> Any:
        name = "many" if work.ticket.asker.lane is many else "few"
        return endless(clock, 500.0, pieces, name)

    monkeypatch.setattr(Preparing, "_steps", steps)
    for lane in [many] * 9 + [few]:
        asker, here, none = cast(Any, SimpleNamespace(lane=lane)), a_collection(), cast(Any, None)
        ticket = Ticket(asker, 0, "add", here, 0, 0, 0, 0, 0)
        assert preparing.begin(Add(ticket, here, none, none, is_binary=False))
    for _ in range(200):
        preparing.run()
        shares.end_tick(lane.share for lane in preparing.lanes())
    assert pieces["few"] == pytest.approx(pieces["many"], rel=0.05)


def test_one_that_all_others_wait_for_goes_on_however_many_they_are() -> None:
    """To look at so many takes longer than a slice, and it is the furthest ahead of them."""
    clock, shares = FakeClock(), Shares()
    refuse = cast(Any, lambda work, error: pytest.fail(str(error)))
    long_reads = LongReads(refuse, lambda work: None, shares, clock)
    tenant, waiting_for = TenantShare(), 20

    def holding() -> Generator[bool, None, Reply]:
        nonlocal waiting_for
        while waiting_for:
            clock.now_ns += 2_000_000
            waiting_for -= 1
            yield True
        return cast(Reply, "held")

    def waits() -> Generator[bool, None, Reply]:
        while waiting_for:
            clock.now_ns += 10_000
            yield False
        return cast(Reply, "waited")

    others = lanes_of(tenant, 1_000)
    for lane in (*lanes_of(tenant, 1), *others):
        asker = cast(Any, SimpleNamespace(lane=lane))
        work = cast(Any, SimpleNamespace(ticket=Ticket(asker, 0, "search", None, 0, 0, 0, 0, 0)))
        long_reads.begin(work, waits() if lane in others else holding())
    effects: list[Any] = []
    for _ in range(300):
        long_reads.run(effects)
        shares.end_tick(lane.share for lane in long_reads.lanes())
    assert sorted(Counter(effects).items()) == [("held", 1), ("waited", 1_000)]


def test_a_tick_of_one_connection_is_as_full_as_ever() -> None:
    """Its own requests are not kept back for others that are not there."""
    shares = Shares()
    lane = Lane()
    works = [read(lane) for _ in range(4 * TICK_QUERIES)]
    reads = reads_of(works, shares)
    ticks = 0
    while reads.has_more:
        taken = reads.take()
        assert len(taken) == TICK_QUERIES
        shares.charge(lane.share, TICK_QUERIES * QUERY_US)
        shares.end_tick(one.share for one in reads.first_lanes())
        ticks += 1
    assert ticks == 4


async def test_connections_of_a_tenant_have_one_share_whose_weight_its_file_says(
    tmp_path: Path,
) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(weight=4)))) as server,
        client(server, token="token-reader"),
        client(server, token="token-other"),
        client(server) as late,
    ):
        await late.ok("auth", token="token-writer")
        shares = [session.lane.share.tenant for session in server._sessions.values()]
        assert sorted(one.weight for one in shares) == [1.0, 4.0, 4.0]
        assert len(set(shares)) == 2
        (tmp_path / "tenants.toml").write_text(limits(weight=2))
        await server.node.reloads.all()
        assert sorted(one.weight for one in shares) == [1.0, 2.0, 2.0]
