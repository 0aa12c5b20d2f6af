"""The controller of overload against a server that is a model, on a clock that the test moves."""

from __future__ import annotations

import os
import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omendb_ws.engine.model.shares import Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.sessions.overload import LOOK_SECONDS, Load, Overload
from omendb_ws.tenants.share import TenantShare
from tests.server.raw import Clock

TARGET_US = 100_000.0
#: Of the state machine; ``make torture`` sets more.
RUNS = int(os.environ.get("OVERLOAD_RUNS", "30"))
#: Orders in which ties are broken; ``make torture`` sets more.
ORDERS = int(os.environ.get("OVERLOAD_ORDERS", "3"))
LOOK_US = round(LOOK_SECONDS * 1e6)


@dataclass(eq=False)
class Asker:
    """A connection whose requests take so long each."""

    lane: Lane
    load: Load
    cost_us: float
    arrivals: deque[int] = field(default_factory=deque)
    answered: int = 0
    refused: int = 0
    waits_us: list[tuple[int, int]] = field(default_factory=list)


class Server:
    """Does what was let in, shared fairly; ``speed``: how much of a second's work in a second."""

    def __init__(self, speed: float = 1.0) -> None:
        self.clock = Clock()
        self.speed = speed
        self.is_watched = False
        self.overload = Overload(TARGET_US, self.clock, self._watch)
        self.askers: list[Asker] = []
        self._shares = Shares()
        self._left_us = 0.0

    def _watch(self) -> None:
        assert not self.is_watched, "watched twice"
        self.is_watched = True

    def join(self, tenant: TenantShare, cost_us: float) -> Asker:
        lane = Lane()
        lane.share.tenant = tenant
        asker = Asker(lane, self.overload.load(lane), cost_us)
        self.askers.append(asker)
        return asker

    def ask(self, asker: Asker, count: int = 1) -> int:
        """Send requests; how many were let in."""
        let_in = 0
        for _ in range(count):
            if self.overload.is_shedding and self.overload.refuses(asker.load):
                self.overload.refused(asker.load)
                asker.refused += 1
                continue
            asker.arrivals.append(self.clock.now_us)
            asker.load.note(len(asker.arrivals))
            let_in += 1
        return let_in

    def pass_(self, seconds: float) -> None:
        """Time passes: work is done, and it is looked."""
        for _ in range(max(1, round(seconds / LOOK_SECONDS))):
            self.clock.move(LOOK_SECONDS)
            self._work()
            if self.is_watched:
                self.is_watched = self.overload.look()

    def _work(self) -> None:
        self._left_us += LOOK_US * self.speed
        # In order of joining, so that ties are broken alike in each run.
        shares, waiting = self._shares, [one for one in self.askers if one.arrivals]
        shares.end_tick(one.load.share for one in waiting)
        while self._left_us > 0 and waiting:
            asker = min(waiting, key=lambda one: (shares.place(one.load.share), one.arrivals[0]))
            self._left_us -= asker.cost_us
            self._take(asker, asker.cost_us)
            if not asker.arrivals:
                waiting.remove(asker)
        self._left_us = min(self._left_us, 0.0)

    def _take(self, asker: Asker, took_us: float) -> None:
        """Answer the first that it has waiting."""
        share, arrived_us = asker.load.share, asker.arrivals.popleft()
        wait_us = self.clock.now_us - arrived_us
        asker.waits_us.append((arrived_us, wait_us))
        share.waited_us, share.taken_us = wait_us, self.clock.now_us
        self._shares.charge(share, took_us)
        asker.load.note(len(asker.arrivals))
        asker.answered += 1

    def waits_us(self, after_seconds: float) -> list[int]:
        """How long those waited, sorted, that came after so long."""
        since_us = Clock().now_us + after_seconds * 1e6
        found = [one for asker in self.askers for one in asker.waits_us]
        return sorted(wait for arrived_us, wait in found if arrived_us >= since_us)


def overloaded(
    times: float, connections: int = 20, cost_us: float = 500.0, speed: float = 1.0
) -> tuple[Server, list[Asker]]:
    """A server that was asked for so many times what it can do, for two seconds."""
    server, tenant = Server(speed), TenantShare()
    askers = [server.join(tenant, cost_us) for _ in range(connections)]
    a_look = times * speed * LOOK_US / cost_us / connections
    owed = 0.0
    for _ in range(200):
        owed += a_look
        for asker in askers:
            server.ask(asker, int(owed))
        owed -= int(owed)
        server.pass_(LOOK_SECONDS)
    return server, askers


@pytest.mark.parametrize("speed", [1.0, 0.4])
@pytest.mark.parametrize("times", [2, 5, 20])
def test_what_is_let_in_is_answered_in_time_and_the_server_stays_busy(
    times: float, speed: float
) -> None:
    """Also where other work takes the time, of which the model knows nothing: after a while."""
    server, askers = overloaded(times, speed=speed)
    waits = server.waits_us(0.0 if speed == 1.0 else 0.7)
    assert waits[int(len(waits) * 0.99)] <= 2.5 * TARGET_US
    assert sum(one.refused for one in askers) > 0
    could_do = 2 * speed * 1e6 / 500.0
    assert sum(one.answered for one in askers) >= 0.95 * could_do
    least, *_, most = sorted(one.answered for one in askers)
    assert most <= 1.2 * least, "connections that ask alike get alike"


@pytest.mark.parametrize("seed", range(3))
def test_users_who_come_as_fast_as_they_can_be_answered_are(seed: int) -> None:
    """At random: a queue stands for a moment now and then, and soon nobody is refused for it."""
    server, numbers, tenant = Server(), np.random.default_rng(seed), TenantShare()
    cost_us, seconds = 400.0, 4
    askers = [server.join(tenant, cost_us) for _ in range(32)]
    for _ in range(round(seconds / LOOK_SECONDS)):
        for asker, count in zip(askers, numbers.poisson(LOOK_US / cost_us / 32, 32), strict=True):
            server.ask(asker, int(count))
        server.pass_(LOOK_SECONDS)
    answered, refused = (sum(getattr(one, of) for one in askers) for of in ("answered", "refused"))
    assert refused <= 0.02 * (answered + refused)
    assert answered >= 0.96 * seconds * 1e6 / cost_us


def test_below_what_it_can_do_nobody_is_refused() -> None:
    _, askers = overloaded(0.95)
    assert sum(one.refused for one in askers) == 0


def test_when_the_load_is_over_nobody_is_refused_any_more() -> None:
    server, askers = overloaded(5)
    server.pass_(0.5)
    assert not server.overload.is_shedding
    assert server.overload.waiting == 0
    assert not server.is_watched
    assert [server.ask(one) for one in askers] == [1] * len(askers)


def test_the_more_are_refused_the_later_they_shall_come_back() -> None:
    assert overloaded(0.5)[0].overload.refusal.retry_after_ms == 100
    twice = overloaded(2)[0].overload.refusal.retry_after_ms
    five = overloaded(5)[0].overload.refusal.retry_after_ms
    assert 100 < twice < five <= 1000


def test_connections_that_come_and_go_leave_nothing_although_nobody_looks() -> None:
    server, tenant = Server(), TenantShare()
    kept = server.join(tenant, 50.0)
    server.ask(kept)
    for _ in range(10_000):
        load = server.overload.load(Lane())
        load.note(1)
        load.note(0)
    assert not server.is_watched
    assert server.overload.waiting == 1
    assert kept.load in server.overload.loads
    assert len(server.overload.loads) < 100


@pytest.mark.parametrize("cost_us", [50.0, 5_000.0, 200_000.0])
def test_who_asks_for_much_alone_is_never_refused(cost_us: float) -> None:
    server = Server()
    asker = server.join(TenantShare(), cost_us)
    for _ in range(20):
        server.ask(asker, 512)
        server.pass_(0.1)
    assert asker.refused == 0


def test_a_burst_that_others_can_wait_for_refuses_nobody() -> None:
    """1,024 searches in one piece, beside four others that search one after the other."""
    server, tenant = Server(), TenantShare()
    others = [server.join(tenant, 50.0) for _ in range(4)]
    burst = server.join(tenant, 50.0)
    server.ask(burst, 1024)
    for _ in range(100):
        for one in others:
            if not one.arrivals:
                server.ask(one)
        server.pass_(LOOK_SECONDS)
    assert burst.answered == 1024
    assert sum(one.refused for one in [burst, *others]) == 0


def test_whoever_asks_for_little_is_not_refused_beside_those_that_ask_for_too_much() -> None:
    server, tenant = Server(), TenantShare()
    greedy = [server.join(tenant, 500.0) for _ in range(8)]
    modest = server.join(tenant, 500.0)
    for _ in range(300):
        for one in greedy:
            server.ask(one, 20)
        if not modest.arrivals:
            server.ask(modest)
        server.pass_(LOOK_SECONDS)
    assert modest.refused == 0
    assert modest.answered > 200
    assert min(one.refused for one in greedy) > 1000


def test_a_tenant_with_few_connections_is_not_refused_for_one_with_many() -> None:
    """As much as its weight says gets through, however many connections another has."""
    server = Server()
    many, few = TenantShare(1.0), TenantShare(2.0)
    crowd = [server.join(many, 500.0) for _ in range(30)]
    pair = [server.join(few, 500.0) for _ in range(2)]
    for _ in range(300):
        for one in crowd:
            server.ask(one, 4)
        for one in pair:
            server.ask(one, 60)
        server.pass_(LOOK_SECONDS)
    got = [sum(one.answered for one in ones) for ones in (crowd, pair)]
    assert got[1] == pytest.approx(2 * got[0], rel=0.15)


def test_one_whose_requests_take_long_has_its_turn_beside_many_that_are_short() -> None:
    server, tenant = Server(), TenantShare()
    short = [server.join(tenant, 200.0) for _ in range(20)]
    long = server.join(tenant, 100_000.0)
    for _ in range(1500):
        for one in short:
            server.ask(one, 12)
        if not long.arrivals:
            server.ask(long)
        server.pass_(LOOK_SECONDS)
    assert long.answered >= 3


def users_of(server: Server, count: int, order: int) -> list[Asker]:
    """Thousands of users with a request each: who is refused or answered asks again at once.

    ``order``: in which they ask, and of those that are alike are served.
    """
    shuffled, tenant = random.Random(order), TenantShare()
    users = [server.join(tenant, 1e6 / count) for _ in range(count)]
    for _ in range(200):
        shuffled.shuffle(server.askers)
        shuffled.shuffle(users)
        for one in users:
            if not one.arrivals:
                server.ask(one)
        server.pass_(LOOK_SECONDS)
    return users


@pytest.mark.parametrize("order", range(ORDERS))
def test_many_that_wait_for_one_answer_each_are_let_in_as_the_time_allows(order: int) -> None:
    """Nobody has more waiting than another, and in whatever order they come all get alike."""
    server = Server()
    users = users_of(server, 500, order)
    waits = server.waits_us(0.5)
    assert waits[int(len(waits) * 0.99)] <= 1.5 * TARGET_US
    assert sum(one.answered for one in users) >= 0.95 * 2e6 / 2_000.0
    assert min(one.answered for one in users) >= 1
    assert max(one.answered for one in users) <= 4


def test_what_waits_for_a_disk_refuses_nobody() -> None:
    """Much is unanswered, and the engine has nothing to do: it is all in the logs."""
    server, tenant = Server(), TenantShare()
    loaders = [server.join(tenant, 2_000.0) for _ in range(20)]
    for asked in range(1, 301):
        for one in loaders:
            assert not server.overload.is_shedding or not server.overload.refuses(one.load)
            one.load.note(asked)
            one.lane.pending = asked
    assert not server.overload.look() or not server.overload.is_shedding
    for one in loaders:
        one.lane.pending = 0
    assert server.overload.look()
    assert server.overload.is_shedding, "now it is the engine's"


def test_who_has_sent_little_is_heard_however_late_the_loop_is() -> None:
    """Those that flood are late for their own sake as well: what they send is refused for it."""
    server, askers = overloaded(5)
    overload = server.overload
    light = server.join(askers[0].lane.share.tenant, 500.0)
    late_us = TARGET_US / 2
    for one in askers:
        overload.came_late(one.load, late_us, 100_000)
    overload.came_late(light.load, late_us, 20_000)
    server.pass_(LOOK_SECONDS)
    assert overload.is_shedding
    assert all(overload.is_late(one.load, late_us) for one in askers)
    assert not overload.is_late(light.load, late_us)
    assert not overload.refuses(light.load)
    assert not any(overload.is_late(one.load, 0.0) for one in askers)


def test_a_connection_that_goes_takes_what_it_had_waiting_along() -> None:
    server, askers = overloaded(5)
    for one in askers:
        one.arrivals.clear()
        one.load.note(0)
    assert server.overload.waiting == 0
    server.pass_(LOOK_SECONDS)
    assert not server.overload.is_shedding


class Controller(RuleBasedStateMachine):
    """Connections of tenants of other weights ask, and time passes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.tenants: list[TenantShare] = []

    @initialize(weights=st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=1, max_size=3))
    def begin(self, weights: list[float]) -> None:
        self.tenants = [TenantShare(weight) for weight in weights]
        self.server.join(self.tenants[0], 100.0)

    @rule(tenant=st.integers(0, 2), cost_us=st.sampled_from([20.0, 400.0, 9_000.0, 150_000.0]))
    def join(self, tenant: int, cost_us: float) -> None:
        if len(self.server.askers) < 30:
            self.server.join(self.tenants[tenant % len(self.tenants)], cost_us)

    @rule(who=st.integers(0, 29), count=st.integers(1, 300))
    def ask(self, who: int, count: int) -> None:
        asker = self.server.askers[who % len(self.server.askers)]
        room = 1024 - len(asker.arrivals)
        self.server.ask(asker, min(count, room))

    @rule(count=st.integers(1, 40))
    def all_ask(self, count: int) -> None:
        for asker in self.server.askers:
            self.server.ask(asker, min(count, 1024 - len(asker.arrivals)))

    @rule(looks=st.integers(1, 30))
    def time_passes(self, looks: int) -> None:
        self.server.pass_(looks * LOOK_SECONDS)

    @rule(who=st.integers(0, 29))
    def leave(self, who: int) -> None:
        if len(self.server.askers) > 1:
            gone = self.server.askers.pop(who % len(self.server.askers))
            gone.load.note(0)

    @invariant()
    def what_waits_is_known(self) -> None:
        waiting = sum(len(one.arrivals) for one in self.server.askers)
        assert self.server.overload.waiting == waiting
        assert [one.load.waiting for one in self.server.askers] == [
            len(one.arrivals) for one in self.server.askers
        ]

    @invariant()
    def nobody_is_refused_below_its_share_while_another_above_is_not(self) -> None:
        overload = self.server.overload
        if not overload.is_shedding:
            return
        loads = [one.load for one in self.server.askers]
        depth = {one: (one.waiting + 1) * one.request_us for one in loads}
        refused = [one for one in loads if overload.refuses(one)]
        for one in refused:
            for other in loads:
                if other in refused or other.share.tenant is not one.share.tenant:
                    continue
                assert not other.waiting or depth[other] <= depth[one]

    @invariant()
    def the_only_one_is_not_refused(self) -> None:
        waiting = [one for one in self.server.askers if one.arrivals]
        if len(waiting) == 1 and not self.server.overload.is_shedding:
            return
        if len(waiting) == 1:
            self.server.pass_(LOOK_SECONDS)
            assert not self.server.overload.refuses(waiting[0].load)

    @precondition(lambda self: self.server.overload.is_shedding)
    @rule(who=st.integers(0, 29))
    def nobody_starves(self, who: int) -> None:
        """Who asks again and again is let in by the time that what waits now is done."""
        asker = self.server.askers[who % len(self.server.askers)]
        waiting_us = sum(one.cost_us * len(one.arrivals) for one in self.server.askers)
        for _ in range(round(waiting_us / LOOK_US) + 200):
            if len(asker.arrivals) < 1024 and self.server.ask(asker):
                return
            self.server.pass_(LOOK_SECONDS)
        raise AssertionError("it was refused to the end")

    def teardown(self) -> None:
        """It recovers: when all is done nobody is refused, and nobody looks any more."""
        server = self.server
        waiting_us = sum(one.cost_us * len(one.arrivals) for one in server.askers)
        server.pass_(waiting_us / 1e6 + 1.0)
        assert server.overload.waiting == 0
        assert not server.overload.is_shedding
        assert not server.is_watched
        for one in server.askers:
            assert server.ask(one) == 1
            server.pass_(one.cost_us / 1e6 + LOOK_SECONDS)


Controller.TestCase.settings = settings(max_examples=RUNS, stateful_step_count=40, deadline=None)
TestController = Controller.TestCase
