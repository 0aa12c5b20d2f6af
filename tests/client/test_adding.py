"""The add pipeline against a model of server and network: exactly once, in order, or said so."""

from __future__ import annotations

import random

import pytest
from omendb_core.model.errors import (
    Forbidden,
    Internal,
    NonFinite,
    NotFound,
    OmenError,
    OutOfOrder,
    Overloaded,
    Quota,
    RateLimited,
    StorageFailed,
    TooLarge,
)

from omendb_ws.client import adding
from omendb_ws.client.added import Added
from omendb_ws.client.backoff import MAX_ATTEMPTS
from omendb_ws.errors import ConnectionLost

from .world import World


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most eight frames under way (of two rows each, in this world)."""
    monkeypatch.setattr(adding, "WINDOW_FRAMES", 8)


def refusals(world: World, error: type[OmenError], times: int) -> None:
    """Have the next ``times`` messages refused, whatever they are, and the answers delivered."""
    for _ in range(times):
        while world.step():
            pass
        world.read(lambda: error("no", expected=1) if error is OutOfOrder else error("no"))
        while world.sent:
            world.read()
        while world.replies:
            world.deliver()
        assert world.pipeline.must_settle
        world.step()


def send_all(world: World) -> None:
    while world.step():
        pass


def test_a_large_add_goes_out_as_frames_and_is_acknowledged_as_one() -> None:
    world = World()
    call = world.call(rows=11)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert (call.outcome.rows, call.outcome.first_seq, call.outcome.last_seq) == (11, 1, 11)
    assert [number for _, number, _ in world.server.log] == [1, 2, 3, 4, 5, 6]
    world.check()


def test_no_more_frames_are_under_way_than_the_window_has() -> None:
    world = World()
    world.call(rows=100)
    send_all(world)
    assert len(world.sent) == 8
    world.read()
    world.deliver()
    send_all(world)
    assert len(world.sent) == 8


def test_the_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "WINDOW_BYTES", 300)
    world = World()
    world.call(rows=100)
    send_all(world)
    sizes = [len(message) for _, message in world.sent]
    assert sum(sizes[:-1]) < 300 <= sum(sizes)


def test_a_refused_frame_fails_its_call_and_those_behind_it_close_up() -> None:
    world = World()
    first, bad, last = world.call(rows=2), world.call(rows=6, bad=3), world.call(rows=4)
    world.finish()
    assert isinstance(first.outcome, Added)
    assert isinstance(bad.outcome, NonFinite)
    assert (bad.outcome.row, bad.outcome.details["rows_added"]) == (3, 2)
    assert isinstance(last.outcome, Added)
    assert world.server.ids() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert [(p, n) for p, n, _ in world.server.log] == [("p1", n) for n in range(1, 5)]
    world.check()


def test_a_refusal_after_a_lost_connection_takes_a_new_producer() -> None:
    """Numbers that may still arrive from the old connection stand for what they stood for."""
    world = World()
    bad, last = world.call(rows=2, bad=0), world.call(rows=4)
    send_all(world)
    world.cut()
    world.finish()
    assert isinstance(bad.outcome, NonFinite)
    assert isinstance(last.outcome, Added)
    assert [(p, n) for p, n, _ in world.server.log] == [("p2", 1), ("p2", 2)]
    world.check()


def test_frames_lost_with_their_connection_are_sent_again_and_go_in_once() -> None:
    world = World()
    call = world.call(rows=10)
    send_all(world)
    for _ in range(3):
        world.read()
    world.deliver()
    world.cut()
    world.finish()
    assert isinstance(call.outcome, Added)
    assert call.outcome.duplicate
    assert world.server.ids() == list(range(10))
    world.check()


def test_what_the_server_reads_late_from_a_gone_connection_changes_nothing() -> None:
    world = World()
    world.call(rows=10)
    send_all(world)
    world.cut()
    send_all(world)
    while world.sent:
        world.read()
        world.read_stale()
        world.deliver()
    world.finish()
    assert world.server.ids() == list(range(10))
    world.check()


@pytest.mark.parametrize("error", [Overloaded, RateLimited, Internal])
def test_refusals_that_may_pass_are_waited_out_under_the_same_names(
    error: type[OmenError],
) -> None:
    world = World()
    call = world.call(rows=6)
    refusals(world, error, MAX_ATTEMPTS - 1)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert [(p, n) for p, n, _ in world.server.log] == [("p1", 1), ("p1", 2), ("p1", 3)]
    world.check()


@pytest.mark.parametrize("error", [Overloaded, Internal, OutOfOrder])
def test_refusals_without_end_come_to_one(error: type[OmenError]) -> None:
    world = World()
    call, other = world.call(rows=6), world.call(rows=2)
    refusals(world, error, MAX_ATTEMPTS)
    assert isinstance(call.outcome, error)
    world.finish()
    assert isinstance(other.outcome, Added)
    assert world.server.ids() == [6, 7]
    world.check()


def test_a_frame_that_may_be_in_is_never_called_refused() -> None:
    world = World()
    call = world.call(rows=2)
    send_all(world)
    world.read()
    world.cut()
    refusals(world, Forbidden, 1)
    assert isinstance(call.outcome, ConnectionLost)
    assert isinstance(call.outcome.__cause__, Forbidden)
    world.finish()
    assert world.server.ids() == [0, 1]


def test_a_refusal_that_is_not_of_the_content_leaves_what_may_be_in_unknown() -> None:
    world = World()
    first, second = world.call(rows=2), world.call(rows=2)
    send_all(world)
    world.cut()
    third = world.call(rows=2)
    refusals(world, Quota, 1)
    assert isinstance(first.outcome, ConnectionLost)
    assert isinstance(second.outcome, ConnectionLost)
    world.finish()
    assert isinstance(third.outcome, Added)
    world.check()


def test_storage_failed_is_told_and_what_follows_takes_a_new_producer() -> None:
    world = World()
    first, second = world.call(rows=2), world.call(rows=2)
    send_all(world)
    world.read(lambda: StorageFailed("disk"), applied=True)
    world.read(lambda: StorageFailed("disk"))
    world.deliver()
    world.deliver()
    world.finish()
    assert isinstance(first.outcome, StorageFailed)
    assert isinstance(second.outcome, StorageFailed | ConnectionLost | Added)
    world.check()


def test_a_forgotten_producer_is_replaced_where_nothing_can_be_doubled() -> None:
    world = World()
    world.call(rows=2)
    world.finish()
    world.forget()
    call = world.call(rows=4)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert [(p, n) for p, n, _ in world.server.log] == [("p1", 1), ("p2", 1), ("p2", 2)]
    world.check()


def test_a_forgotten_producer_makes_what_may_be_in_unknown() -> None:
    world = World()
    world.call(rows=2)
    world.finish()
    call = world.call(rows=2)
    send_all(world)
    world.read()
    world.cut()
    world.forget()
    world.finish()
    assert isinstance(call.outcome, ConnectionLost)
    assert world.server.ids() == [0, 1, 2, 3]
    world.check()


def test_a_server_that_lost_everything_gets_what_is_left_under_a_new_producer() -> None:
    world = World()
    world.call(rows=2)
    world.finish()
    call = world.call(rows=2)
    send_all(world)
    world.read()
    world.restart(kept=0)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert world.server.ids() == [2, 3]
    world.check()


def test_a_server_that_lost_the_last_batches_gets_them_under_a_new_producer() -> None:
    world = World(durable=True)
    world.call(rows=2)
    world.finish()
    call = world.call(rows=4)
    send_all(world)
    world.read()
    world.read()
    world.restart(kept=1)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert world.server.ids() == [0, 1, 2, 3, 4, 5]
    world.check()


def test_a_call_whose_first_rows_were_lost_with_their_epoch_fails() -> None:
    world = World()
    call = world.call(rows=4)
    send_all(world)
    world.read()
    world.deliver()
    world.restart(kept=0)
    world.finish()
    assert isinstance(call.outcome, ConnectionLost)
    assert call.outcome.details["rows_added"] == 2


def test_a_collection_made_anew_is_opened_again() -> None:
    world = World()
    world.call(rows=2)
    world.finish()
    world.recreate()
    call = world.call(rows=4)
    world.finish()
    assert isinstance(call.outcome, Added)
    assert world.server.ids() == [2, 3, 4, 5]
    world.check()


def test_not_found_after_opening_again_is_the_callers() -> None:
    world = World()
    call = world.call(rows=2)
    refusals(world, NotFound, 2)
    assert isinstance(call.outcome, NotFound)


def test_rows_of_a_cancelled_call_that_were_not_sent_never_are() -> None:
    world = World()
    call, other = world.call(rows=40), world.call(rows=2)
    send_all(world)
    world.cancel(call)
    world.finish()
    assert world.server.ids() == [*range(16), 40, 41]
    assert isinstance(other.outcome, Added)
    world.check()


def test_a_cancelled_call_that_was_refused_is_not_tried_again() -> None:
    world = World()
    call, other = world.call(rows=2), world.call(rows=2)
    send_all(world)
    world.cancel(call)
    refusals(world, Overloaded, 1)
    world.finish()
    assert world.server.ids() == [2, 3]
    assert isinstance(other.outcome, Added)
    world.check()


def test_a_frame_over_which_every_connection_breaks_is_given_up() -> None:
    world = World()
    call = world.call(rows=2)
    for _ in range(adding.MAX_BLAMES):
        send_all(world)
        world.cut(blamed=True)
    other = world.call(rows=2)
    world.finish()
    assert isinstance(call.outcome, ConnectionLost)
    assert isinstance(other.outcome, Added)


def test_a_frame_refused_on_this_side_closes_up_like_any_other() -> None:
    world = World()
    call, other = world.call(rows=2), world.call(rows=2)
    world.open()
    frame = world.pipeline.next_frame()
    assert frame is not None
    world.pipeline.refused(frame, TooLarge("here"))
    world.finish()
    assert isinstance(call.outcome, TooLarge)
    assert isinstance(other.outcome, Added)
    assert [(p, n) for p, n, _ in world.server.log] == [("p1", 1)]


def test_when_all_is_over_each_call_learns_what_is_known_of_it() -> None:
    world = World()
    sent, waiting = world.call(rows=16), world.call(rows=2)
    send_all(world)
    world.cut()
    world.pipeline.fail(Forbidden("gone"))
    assert isinstance(sent.outcome, ConnectionLost)
    assert isinstance(waiting.outcome, Forbidden)
    later = world.call(rows=2)
    world.finish()
    assert isinstance(later.outcome, Added)
    world.check()


# -- anything, in any order ---------------------------------------------------------------------

REFUSALS: list[type[OmenError]] = [
    Overloaded, RateLimited, Internal, StorageFailed, Quota, Forbidden,
]  # fmt: skip
#: What happens in a history, and how often beside the others. The first four are the usual
#: course of things; the rest are faults.
STEPS = {
    "call": 4, "send": 6, "read": 4, "deliver": 4,
    "refuse": 3, "cut": 2, "stale": 1, "cancel": 1, "forget": 0.3, "restart": 0.3, "recreate": 0.3,
}  # fmt: skip


def run(world: World, step: str, chance: random.Random) -> None:
    """Do one step of a history."""
    match step:
        case "call":
            rows = chance.randint(1, 7)
            world.call(rows, chance.randrange(rows) if chance.random() < 0.2 else None)
        case "send":
            send_all(world)
        case "read" | "deliver":
            for _ in range(chance.randint(1, 9)):
                (world.read if step == "read" else world.deliver)()
        case "refuse":
            error = chance.choice(REFUSALS)
            applied = error in (Internal, StorageFailed) and chance.random() < 0.5
            world.read(lambda: error("no"), applied=applied)
        case "cut":
            world.cut(blamed=chance.random() < 0.1)
        case "stale":
            world.read_stale()
        case "cancel":
            if world.calls:
                world.cancel(chance.choice(world.calls))
        case "forget":
            world.forget()
        case "restart":
            world.restart(kept=chance.randint(0, 9))
        case "recreate":
            world.recreate()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_rows_go_in_once_in_order_or_their_call_says_it_is_unknown(
    seed: int,
) -> None:
    for number in range(250):
        chance = random.Random(seed * 1_000_000 + number)
        world = World(durable=chance.random() < 0.5)
        steps = chance.choices(list(STEPS), list(STEPS.values()), k=chance.randint(5, 40))
        for step in ["call", "call", "send", *steps]:
            run(world, step, chance)
        world.finish()
        world.check()
