"""Every scenario that comes with the package runs, for a second, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load_tests.simulation import __main__ as command_line
from load_tests.simulation import coordinator, results, scenario, sweep
from load_tests.simulation.server import Target, serving
from tests.load_tests.served import long_enough, unhurried

#: Small enough for a test beside other work.
SMALL = {
    "load.seconds": 0.8, "load.warm_up_seconds": 0.2, "load.interval_seconds": 0.2,
    "collection.capacity": 1000, "vectors.pool": 1500,
    "feed.connections": 4, "live.connections": 2, "connect.rate": 20, "search.rate": 100,
    "search.verified": 0.2, "live.verified": 0.3, "live.per_connection": 10, "match.connections": 2,
    "match.bytes_per_second": 1e6,
}  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with serving(["--config", unhurried(tmp_path_factory.mktemp("target"))]) as target:
        yield target


def small(name: str, **more: Any) -> scenario.Scenario:
    there = scenario.read(name).settings()
    wanted = {key: value for key, value in SMALL.items() if key.partition(".")[0] in there}
    if name == "overload":
        del wanted["search.rate"]
    if name == "shaped":  # each shape once, and their examples stay
        wanted |= {"live.connections": 9, "add.rate": 6}
    return scenario.read(name, {**wanted, **more})


def test_searches_may_be_texts(target: Target) -> None:
    made = coordinator.run(
        small("overload", **{
            "search.times_capacity": 0, "search.rate": 200, "search.texts": True,
            "search.verified": 0.0,
        }),
        target,
    )  # fmt: skip
    (one,) = made.operations
    assert one.count > 0
    assert not one.errors
    assert not one.unanswered


@pytest.mark.parametrize("name", scenario.names())
def test_a_scenario_runs_and_no_answer_is_wrong(target: Target, name: str) -> None:
    wanted = small(name)
    if name == "overload":  # without the closed run before it
        wanted = small(name, **{"search.times_capacity": 0, "search.rate": 200})
    reading = [kind for kind, standing in wanted.standing.items() if standing.reads]
    made = long_enough(lambda: coordinator.run(wanted, target), reading)
    assert made.environment.durability == "memory"
    assert made.environment.server.startswith("omendb-ws/")
    assert {one.name for one in made.operations} == set(wanted.requests)
    assert all(one.count > 0 and not one.errors for one in made.operations)
    assert {one.kind for one in made.pushes} == set(wanted.standing)
    for push in made.pushes:
        settings = wanted.standing[push.kind]
        assert push.connections == settings.connections
        assert push.subscriptions == settings.connections * settings.per_connection
        assert push.pushes > 0 or not settings.reads
        assert push.lag.count == push.pushes or push.kind != "live"
        assert not push.errors
        assert (push.truth is not None) is bool(settings.verified)
        if push.truth is not None:
            assert push.truth.compared == push.truth.sampled > 0
            assert (push.truth.mismatches, push.truth.recall) == (0, 1.0)
    if wanted.search is not None:
        assert made.truth is not None
        assert made.truth.compared == made.truth.sampled > 0
        assert (made.truth.mismatches, made.truth.recall) == (0, 1.0)
    assert made.resources.metrics_after.keys() >= {"omendb_searches_total"}
    assert results.from_json(results.to_json(made)) == made


def test_processes_that_add_at_the_same_time_leave_every_answer_checkable(target: Target) -> None:
    adding = {"load.processes": 2, "add.connections": 2, "add.rate": 400, "add.rows": 3}
    made = coordinator.run(small("mixed", **adding, **{"search.verified": 0.5}), target)
    assert made.truth is not None
    assert made.truth.compared == made.truth.sampled > 10
    assert (made.truth.mismatches, made.truth.recall) == (0, 1.0)


def test_a_sweep_marks_a_knee(target: Target) -> None:
    wanted = small("search", **{"load.seconds": 0.8, "search.arrivals": "constant"})
    made = sweep.sweep(wanted, target, "search", [20.0, 10.0], p99_limit_ms=1e6)
    assert made.kind == "sweep"
    assert made.sweep is not None
    assert [one.is_knee for one in made.sweep.points] == [False, True]
    assert made.sweep.knee_per_second == made.sweep.points[-1].offered_per_second


def test_the_command_writes_a_file_and_names_what_it_cannot_read(
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "made" / "search.json"
    settings = [f"--set={key}={value}" for key, value in SMALL.items() if "search" in key]
    flags = ["--seconds", "0.5", "--warm-up", "0.1", "--set", "collection.capacity=500"]
    arguments = ["run", "search", *flags, *settings, "--url", target.url, "--output", str(path)]
    monkeypatch.setattr("sys.argv", ["simulation", *arguments])
    assert command_line.main() == 0
    assert results.load(path).settings["collection"]["capacity"] == 500
    said = capsys.readouterr().out
    assert "recall 1.000000" in said
    assert "durability memory" in said
    monkeypatch.setattr("sys.argv", ["simulation", "run", "search", "--set", "search.nothing=1"])
    assert command_line.main() == 2
    assert "search.nothing: unknown" in capsys.readouterr().err
