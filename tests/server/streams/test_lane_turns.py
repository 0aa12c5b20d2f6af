"""Turns of connections, against a model that keeps lists; and what they cost the others."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from omendb_ws.engine.model.shares import SLACK_US, Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.lane_turns import LaneTurns
from omendb_ws.tenants.share import TenantShare
from tests.examples import examples
from tests.server.engine.test_shares import lanes_of

LANES = st.integers(0, 5)
ITEMS = st.integers(0, 9)


class TurnsMachine(RuleBasedStateMachine):
    """Three tenants of two connections each; some work, some wait, some are far ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares()
        self.turns: LaneTurns[int] = LaneTurns(self.shares)
        self.lanes = [lane for _ in range(3) for lane in lanes_of(TenantShare(), 2)]
        self.model: dict[Lane, list[int]] = {lane: [] for lane in self.lanes}

    @rule(lane=LANES, item=ITEMS)
    def add(self, lane: int, item: int) -> None:
        of = self.lanes[lane]
        self.turns.add(of, item)
        if item not in self.model[of]:
            self.model[of].append(item)

    @rule(lane=LANES, item=ITEMS)
    def put_first(self, lane: int, item: int) -> None:
        of = self.lanes[lane]
        self.turns.put_first(of, item)
        self.model[of] = [item, *(one for one in self.model[of] if one != item)]

    @rule(lane=LANES, item=ITEMS)
    def discard(self, lane: int, item: int) -> None:
        of = self.lanes[lane]
        self.turns.discard(of, item)
        self.model[of] = [one for one in self.model[of] if one != item]

    @rule(lane=LANES, took_us=st.floats(0.0, 4 * SLACK_US))
    def charge(self, lane: int, took_us: float) -> None:
        self.shares.charge_streams(self.lanes[lane].share, took_us)

    @rule(others=st.sets(LANES))
    def end_tick(self, others: set[int]) -> None:
        waiting = [*self.turns.waiting(), *(self.lanes[one].share for one in others)]
        self.shares.end_tick((), waiting)

    @rule(most=st.integers(1, 5))
    def take(self, most: int) -> None:
        self.turns.begin()
        for _ in range(most):
            turn = self.turns.next()
            if turn is None:
                assert not any(
                    items and self.shares.may(lane.share) for lane, items in self.model.items()
                )
                break
            lane, item = turn
            assert self.shares.may(lane.share)
            assert self.model[lane].pop(0) == item

    @invariant()
    def it_waits_as_long_as_there_is_something(self) -> None:
        assert bool(self.turns) == any(self.model.values())
        waiting = {share.tenant for share in self.turns.waiting()}
        assert waiting == {lane.share.tenant for lane, items in self.model.items() if items}


TestTurns = TurnsMachine.TestCase
TestTurns.settings = hypothesis_settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None, derandomize=True
)


def test_while_nobody_waits_who_came_first_is_served_until_it_has_nothing_left() -> None:
    turns: LaneTurns[int] = LaneTurns(Shares())
    first, second = Lane(), Lane()
    for item in range(3):
        turns.add(first, item)
        turns.add(second, item)
    turns.begin()
    taken = [turn for _ in range(6) if (turn := turns.next()) is not None]
    assert taken == [(lane, item) for lane in (first, second) for item in range(3)]
    assert not turns


def test_one_of_ten_thousand_is_a_turn_ahead_of_one_of_another_connection() -> None:
    shares = Shares()
    turns: LaneTurns[int] = LaneTurns(shares)
    many, few = lanes_of(TenantShare(), 2)
    for item in range(10_000):
        turns.add(many, item)
    shares.end_tick((), turns.waiting())
    turns.add(few, 0)
    turns.begin()
    assert [turn[0] for _ in range(2) if (turn := turns.next())] == [many, few]


def test_to_know_who_is_behind_costs_the_same_however_many_wait() -> None:
    shares = Shares()
    turns: LaneTurns[int] = LaneTurns(shares)
    looked: list[int] = []
    for count in (100, 10_000):
        for lane in lanes_of(TenantShare(), count):
            turns.add(lane, 0)
        looked.append(sum(1 for _ in turns.waiting()))
    assert looked[1] == 2 * looked[0]


def test_a_tenant_that_is_ahead_is_passed_over_at_once() -> None:
    """And not connection by connection, of which it may have thousands."""
    shares = Shares()
    turns: LaneTurns[int] = LaneTurns(shares)
    many, one = lanes_of(TenantShare(), 1_000), Lane()
    for lane in many:
        turns.add(lane, 0)
    shares.end_tick([one.share], turns.waiting())
    shares.charge_tenant(many[0].share.tenant, 10 * SLACK_US)
    asked: Counter[str] = Counter()
    may, may_tenant = shares.may, shares.may_tenant
    shares.may = lambda share: asked.update(["lane"]) or may(share)  # type: ignore[func-returns-value, method-assign]
    shares.may_tenant = lambda tenant: (  # type: ignore[method-assign]
        asked.update(["tenant"]) or may_tenant(tenant)  # type: ignore[func-returns-value]
    )
    turns.begin()
    assert turns.next() is None
    assert asked == {"tenant": 1}
