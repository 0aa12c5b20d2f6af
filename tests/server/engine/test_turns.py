"""Changes that wait: of each connection in order, between connections by their shares."""

from __future__ import annotations

import random
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from omendb_ws.engine.model.shares import SLACK_US, Shares
from omendb_ws.engine.model.ticket import Lane, Ticket
from omendb_ws.engine.writes.commands import Delete, Drop
from omendb_ws.engine.writes.turns import SORTED_AT_ONCE, Turns


class Place:
    """A collection."""

    is_made = True


HERE, THERE = cast(Any, Place()), cast(Any, Place())


def change(lane: Lane, shard: Any = HERE, kind: type[Any] = Delete) -> Any:
    """The next change of a connection."""
    asker = cast(Any, SimpleNamespace(lane=lane))
    ticket = Ticket(asker, 0, "delete", shard, 0, 0, 0, 0, lane.queued)
    lane.queued += 1
    rest = (cast(Any, None),) * (1 if kind is Drop else 2)
    return kind(ticket, shard, *rest)


def contended(lanes: list[Lane]) -> Shares:
    """Shares of connections that waited for a tick."""
    shares = Shares()
    shares.end_tick([lane.share for lane in lanes])
    return shares


def taken(turns: Turns, shares: Shares, took_us: float = 100.0) -> list[Any]:
    """All that can be taken, each done at once."""
    works = []
    while (work := turns.take()) is not None:
        works.append(work)
        lane = work.ticket.asker.lane
        turns.is_through(lane)
        shares.charge(lane.share, took_us)
    return works


def test_while_a_tick_does_all_they_are_done_in_the_order_in_which_they_came() -> None:
    shares = Shares()
    turns = Turns(shares)
    lanes = [Lane(), Lane(), Lane()]
    works = [change(lanes[place % 3]) for place in range(30)]
    for work in works:
        turns.add(work)
    assert taken(turns, shares) == works


def test_one_change_is_not_behind_the_hundred_of_another_connection() -> None:
    flood, light = Lane(), Lane()
    shares = contended([flood, light])
    turns = Turns(shares)
    works = [change(flood) for _ in range(100)]
    for work in [*works, last := change(light)]:
        turns.add(work)
    done = taken(turns, shares)
    assert done.index(last) <= 1
    assert [work for work in done if work is not last] == works[: len(done) - 1]


def test_who_is_far_ahead_waits_and_loses_nothing() -> None:
    ahead, reader = Lane(), Lane()
    shares = contended([ahead, reader])
    shares.charge(ahead.share, 2 * SLACK_US)
    turns = Turns(shares)
    work = change(ahead)
    turns.add(work)
    shares.end_tick([ahead.share, reader.share])
    assert turns.take() is None
    assert len(turns) == 1
    assert list(turns.lanes()) == [ahead]
    shares.end_tick([ahead.share])
    assert turns.take() is work


def test_a_drop_stays_behind_what_came_before_it_and_concerns_its_collection() -> None:
    early, dropper = Lane(), Lane()
    shares = contended([early, dropper])
    turns = Turns(shares)
    works = [change(early, THERE), change(early), change(early, THERE)]
    drop = change(dropper, kind=Drop)
    late = change(early)
    for work in [*works, drop, late]:
        turns.add(work)
    shares.charge(early.share, SLACK_US / 2)  # the drop would be first
    done = taken(turns, shares)
    assert done.index(drop) > done.index(works[1])
    assert [work for work in done if work is not drop] == [*works, late]


def test_a_drop_behind_another_that_is_behind_an_add_is_behind_both() -> None:
    adder, other, dropper = Lane(), Lane(), Lane()
    shares = contended([adder, other, dropper])
    turns = Turns(shares)
    add = change(adder, THERE)
    dropped = change(other, THERE, Drop)
    drop = change(dropper, HERE, Drop)
    # The second drop is behind a change of the connection whose first is a drop.
    for work in (add, dropped, later := change(other), drop):
        turns.add(work)
    shares.charge(adder.share, SLACK_US / 2)
    shares.charge(other.share, SLACK_US / 4)
    assert taken(turns, shares) == [add, dropped, later, drop]


def test_whose_changes_wait_is_told_of_all_and_of_one_connection_by_one_look() -> None:
    lane, other = Lane(), Lane()
    turns = Turns(Shares())
    for _ in range(3):
        turns.add(change(lane))
    assert list(turns.lanes()) == [lane]
    turns.add(change(other))
    assert set(turns.lanes()) == {lane, other}
    while (work := turns.take()) is not None:
        turns.is_through(work.ticket.asker.lane)
    assert not list(turns.lanes())
    turns.add(change(other))
    other.parked.append(change(other))
    turns.is_through(other)
    assert list(turns.lanes()) == [other]
    turns.put_back(deque([change(lane)]))
    assert set(turns.lanes()) == {lane, other}


def test_what_came_in_order_is_sorted_some_at_each_look() -> None:
    lanes = [Lane() for _ in range(20)]
    shares = Shares()
    turns = Turns(shares)
    works = [change(lanes[place % 20]) for place in range(10 * SORTED_AT_ONCE)]
    for work in works:
        turns.add(work)
    shares.end_tick([lane.share for lane in lanes])
    assert turns.take() is works[0]
    assert 0 < turns._fair.count <= SORTED_AT_ONCE
    turns.add(late := change(lanes[0]))  # behind all that are not sorted yet
    turns.is_through(lanes[0])
    done = [works[0], *taken(turns, shares, took_us=0.0)]
    assert len(done) == len(works) + 1
    assert [work for work in done if work.ticket.asker.lane is lanes[0]] == [*works[::20], late]


def test_who_may_go_on_is_found_however_far_behind_it_came() -> None:
    flood, light = Lane(), Lane()
    shares = contended([flood, light])
    turns = Turns(shares)
    for _ in range(3 * SORTED_AT_ONCE):
        turns.add(change(flood))
    turns.add(only := change(light))
    shares.charge(flood.share, 4 * SLACK_US)
    assert turns.take() is only


def test_of_those_that_it_may_be_behind_a_drop_looks_at_its_collections_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omendb_ws.engine.writes.turns.SORTED_AT_ONCE", 10_000)
    looked = 0

    class Seen:
        def __init__(self, asker: Any) -> None:
            self.asker, self.after = asker, 0

        @property
        def shard(self) -> Any:
            nonlocal looked
            looked += 1
            return THERE

    lanes = [Lane() for _ in range(1000)]
    here, dropper = Lane(), Lane()
    shares = contended([*lanes, here, dropper])
    turns = Turns(shares)
    for lane in lanes:
        elsewhere = change(lane, THERE)
        elsewhere.ticket = Seen(elsewhere.ticket.asker)
        turns.add(elsewhere)
    before = [change(here), change(here)]
    for work in (*before, drop := change(dropper, kind=Drop)):
        turns.add(work)
    for lane in lanes:
        shares.charge(lane.share, SLACK_US / 2)
    assert turns.take() is before[0]
    looked = 0
    turns.is_through(here)
    shares.charge(here.share, SLACK_US / 4)
    assert turns.take() is before[1]
    turns.is_through(here)
    assert turns.take() is drop
    assert looked == 0


@pytest.mark.parametrize("seed", range(30))
def test_whatever_waits_for_whom_each_connection_goes_on_in_its_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parked behind pending ones, put back, and by shares or not: as a queue for each would do."""
    monkeypatch.setattr("omendb_ws.engine.writes.turns.SORTED_AT_ONCE", (1, 3, 256)[seed % 3])
    numbers = random.Random(seed)
    shares = Shares()
    turns = Turns(shares)
    lanes = [Lane() for _ in range(numbers.choice((1, 2, 5)))]
    left: dict[Lane, deque[Any]] = {lane: deque() for lane in lanes}
    pending: list[Lane] = []
    aside: deque[Any] = deque()
    sent = 0
    while sent < 120 or any(left.values()) or pending:
        what = numbers.random()
        if what < 0.35 and sent < 120:
            lane = numbers.choice(lanes)
            work = change(lane, numbers.choice((HERE, THERE)))
            left[lane].append(work)
            turns.add(work)
            sent += 1
        elif what < 0.5 and pending:
            turns.end_pending(pending.pop(0))
        elif what < 0.6:
            turns.put_back(aside)
        elif what < 0.7:
            shares.end_tick([lane.share for lane in turns.lanes()])
        elif (work := turns.take()) is not None:
            lane = work.ticket.asker.lane
            if numbers.random() < 0.2:
                aside.append(work)
                turns.put_back(aside)
                continue
            assert left[lane].popleft() is work
            if numbers.random() < 0.5:
                turns.begin_pending(lane, work.shard)
                pending.append(lane)
            else:
                _through(turns, lane, pending)
            shares.charge(lane.share, numbers.uniform(1.0, SLACK_US))
    assert not len(turns)
    assert turns.take() is None
    assert all(lane.done == lane.queued and not lane.parked for lane in lanes)


def _through(turns: Turns, lane: Lane, pending: list[Lane]) -> None:
    """A change is done: behind pending ones it is pending, too, as ``Changing.through`` has it."""
    if lane.pending:
        turns.begin_pending(lane, cast(Any, lane.pending_in))
        pending.append(lane)
    else:
        turns.is_through(lane)
