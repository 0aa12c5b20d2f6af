"""The generator tells the truth about a server that misbehaves: a stub that does so on purpose."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from omendb_core.model.errors import Overloaded

from load_tests.simulation import coordinator, scenario
from load_tests.simulation.connection import Connection, Endpoint
from load_tests.simulation.results import Operation, Result
from load_tests.simulation.server import Target
from load_tests.simulation.stub import Behaviour, stub_thread
from omendb_ws.wire import messages, text

STALL_MS = 500.0


LOAD = {"seconds": 1.5, "warm_up_seconds": 0.0, "interval_seconds": 0.5, "drain_seconds": 0.5}


def run(behaviour: Behaviour, **search: Any) -> tuple[Result, Operation]:
    document = {
        "load": dict(LOAD),
        "collection": {"dim": 8, "capacity": 100},
        "vectors": {"pool": 200},
        "search": {"queries": 16, **search},
    }
    with stub_thread(behaviour) as url:
        made = coordinator.run(scenario.parse("test", document, {}), Target(url, None))
    return made, made.operations[0]


def ms(value: float | None) -> float:
    assert value is not None
    return value


def test_in_open_mode_a_stall_is_in_the_corrected_tail_though_one_request_alone_met_it() -> None:
    stalling = Behaviour(stall_at=20, stall_seconds=STALL_MS / 1000)
    # One place: while the server stands, nobody else is sent, so the uncorrected figure has one
    # slow request of some hundreds.
    _, found = run(stalling, arrivals="constant", rate=400.0, in_flight=1)
    assert ms(found.corrected.max_ms) >= STALL_MS * 0.98
    assert ms(found.corrected.p999_ms) >= STALL_MS * 0.9
    assert ms(found.corrected.p90_ms) >= STALL_MS * 0.2, "a third of all came during the stall"
    assert ms(found.uncorrected.p99_ms) < ms(found.corrected.p90_ms)
    assert ms(found.uncorrected.max_ms) >= STALL_MS * 0.98
    assert found.late_sends >= 100
    slowest = max(found.over_time, key=lambda one: ms(one.max_ms))
    assert ms(slowest.max_ms) >= STALL_MS * 0.98, "it shows where it was"


def test_in_closed_mode_the_same_stall_hides() -> None:
    stalling = Behaviour(stall_at=20, stall_seconds=STALL_MS / 1000)
    _, found = run(stalling, arrivals="closed", in_flight=1)
    assert found.count > 20
    assert ms(found.corrected.p90_ms) < STALL_MS / 2, "the server was asked once in that time"
    assert ms(found.corrected.max_ms) >= STALL_MS * 0.98
    assert found.offered_per_second is None
    assert found.is_reached is None


def test_a_rate_that_cannot_be_reached_is_reported_as_not_reached() -> None:
    result, found = run(
        Behaviour(search_seconds=0.004), arrivals="poisson", rate=1000.0, in_flight=50
    )
    assert found.is_reached is False
    assert found.offered_per_second is not None
    assert found.offered_per_second > 800
    assert found.achieved_per_second < 260
    assert any("NOT reached" in note for note in result.notes)
    # Nobody who waited in vain is left out of the tail.
    assert found.unanswered + found.unsent > 0 or ms(found.corrected.max_ms) > 1000
    assert found.corrected.count == found.count + found.unanswered + found.unsent


def test_a_server_that_answers_wrongly_is_found() -> None:
    result, _ = run(Behaviour(), arrivals="constant", rate=200.0, verified=0.2)
    assert result.truth is not None
    assert result.truth.compared == result.truth.sampled > 0
    assert result.truth.mismatches == result.truth.compared
    assert result.truth.recall is not None
    assert result.truth.recall < 0.5
    assert result.truth.examples
    assert any("WRONG" in note for note in result.notes)


def test_a_server_that_pushes_wrongly_is_found() -> None:
    document = {
        "load": dict(LOAD),
        "collection": {"dim": 8, "capacity": 100},
        "vectors": {"pool": 200},
        "add": {"arrivals": "constant", "rate": 50.0},
        "live": {"per_connection": 4, "verified": 0.5},
    }
    with stub_thread(Behaviour()) as url:
        made = coordinator.run(scenario.parse("test", document, {}), Target(url, None))
    (push,) = made.pushes
    assert push.subscriptions == 4
    judged = push.truth
    assert judged is not None
    assert judged.compared == judged.sampled > 0
    assert judged.mismatches == judged.compared
    assert made.truth is None
    assert any("live views were WRONG" in note for note in made.notes)


def test_a_connection_that_is_cut_is_an_error_and_what_it_could_not_send_counts() -> None:
    result, found = run(Behaviour(drop_at=10), arrivals="constant", rate=200.0, in_flight=1)
    assert found.errors == {"closed_1006": 1}
    assert found.count == 9
    assert found.unsent == 290
    assert found.is_reached is False
    assert found.corrected.count == 9 + 290
    assert any("290 unsent" in note for note in result.notes)


def test_what_is_counted_was_asked_and_a_rate_that_can_be_reached_is() -> None:
    async def asked(url: str) -> int:
        connection = await Connection.open(Endpoint(url))
        counted = await connection.ok(text.encode_request(messages.Count(1, "any")), 1)
        await connection.close()
        return int(counted["count"])

    document = {
        "load": {"seconds": 1.0, "warm_up_seconds": 0.0, "processes": 2},
        "collection": {"dim": 8, "capacity": 10},
        "search": {"arrivals": "constant", "rate": 50.0, "connections": 3},
    }
    with stub_thread() as url:
        result = coordinator.run(scenario.parse("test", document, {}), Target(url, None))
        (found,) = result.operations
        assert asyncio.run(asked(url)) == found.sent == found.count == 50
    assert found.is_reached is True
    assert result.resources.generator_processes == 2


def test_a_generator_that_cannot_connect_fails_with_a_reason() -> None:
    document = {"search": {}}
    with stub_thread() as url:
        pass
    with pytest.raises(OSError, match=r"111|refused"):
        coordinator.run(scenario.parse("test", document, {}), Target(url, None))


async def test_what_comes_before_the_load_is_asked_again_of_a_server_that_is_overloaded() -> None:
    with stub_thread(Behaviour(refuse_asked=2)) as url:
        connection = await Connection.open(Endpoint(url))
        request = text.encode_request(messages.Count(1, "any"))
        with pytest.raises(Overloaded):
            await connection.ok(request, 1, is_patient=False)
        assert await connection.ok(request, 1) is not None
        await connection.close()
