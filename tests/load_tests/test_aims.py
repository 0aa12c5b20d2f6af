"""What the aims say of figures; and that each kind of bench, made tiny, gives some."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from load_tests.aims import (
    __main__ as command_line,
)
from load_tests.aims import (
    benches,
    engine,
    filtered,
    hard,
    load,
    requests,
    scans,
    shaped,
    standing,
    table,
    turns,
)
from load_tests.aims.child import on_one_core
from load_tests.aims.row import Effort, Row
from load_tests.aims.turns import medians_us, times_as_fast
from load_tests.simulation import example
from load_tests.simulation.results import Result
from load_tests.simulation.scenario import Scenario
from load_tests.simulation.server import Target
from tests.load_tests.served import unhurried
from tests.patience import PATIENCE_SECONDS

SHORT = Effort(runs=1, seconds=0.01, long_seconds=0.6)


@pytest.mark.parametrize(
    ("row", "is_reached"),
    [
        (Row("a", "ms", [1.0, 9.0, 2.0]), None),
        (Row("a", "ms", [1.0, 9.0, 2.0], "at most", 2.0), True),
        (Row("a", "ms", [1.0, 9.0, 2.1], "at most", 2.0), False),
        (Row("a", "QPS", [1.0, 9.0, 2.0], "at least", 2.0), True),
        (Row("a", "QPS", [1.0, 9.0, 1.9], "at least", 2.0), False),
        (Row("a", "ms", [1.0], "at most", 2.0, faults=["one answer is wrong"]), False),
        (Row("a", "ms", [], "at most", 2.0), False),
    ],
)
def test_an_aim_is_reached_by_the_median_and_if_nothing_went_wrong(
    row: Row, is_reached: bool | None
) -> None:
    assert row.is_reached is is_reached
    first, *_ = table.lines(row, None)
    assert ("NOT reached" in first) is (is_reached is False)


def test_what_was_stands_beside_what_is(tmp_path: Path) -> None:
    rows = {"some": [Row("a", "ms", [3.0, 1.0, 2.0]), Row("b", "ms", [])]}
    path = tmp_path / "aims.json"
    path.write_bytes(table.document(rows, "2026-01-01"))
    assert table.medians(path) == {("some", "a"): 2.0}
    assert json.loads(path.read_bytes())["environment"]["durability"] == "memory"
    (line,) = table.lines(Row("a", "ms", [4.0]), 2.0)
    assert line.split()[-3:] == ["4.00", "ms", "2.00"]


def test_what_was_is_of_benches_that_there_are() -> None:
    known = table.medians(command_line.WAS)
    assert known
    assert {bench for bench, _ in known} <= set(benches.BENCHES)


def test_what_was_refused_lost_or_wrong_is_a_fault() -> None:
    fine = example.example("run")
    fine = dataclasses.replace(
        fine,
        operations=[dataclasses.replace(one, errors={}) for one in fine.operations],
        pushes=[dataclasses.replace(one, errors={}, gaps=0) for one in fine.pushes],
        truth=None,
    )
    assert load.faults([fine]) == []
    (search, *_), (push, *_) = fine.operations, fine.pushes
    assert len(load.faults([example.example("run")])) == 5
    unsent = dataclasses.replace(search, unsent=3)
    assert load.faults([dataclasses.replace(fine, operations=[unsent])]) == ["search: 3 unsent"]
    missed = dataclasses.replace(search, is_reached=False)
    assert "reached" in load.faults([dataclasses.replace(fine, operations=[missed])])[0]
    over_time = [
        dataclasses.replace(one, p50_ms=5.0 * (number + 1))
        for number, one in enumerate(push.over_time)
    ]
    (said,) = standing._growing(dataclasses.replace(push, over_time=over_time))
    assert "grew from 10.0 to 45.0 ms" in said
    assert standing._growing(push) == []


def test_calls_take_turns_and_what_comes_before_them_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    now = [1.0]
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow() -> None:
        order.append("slow")
        now[0] += 0.002

    def before() -> None:
        order.append("before")
        now[0] += 0.021

    calls = {"slow": slow, "quick": lambda: order.append("quick")}
    found = medians_us(calls, 2, 0.0, before)
    # Of a turn one call settles, as it takes as long as settling may, and four are timed.
    rounds = (["before", "slow"] * 5 + ["before", "quick"] * 5) * 4
    assert order == ["slow", "quick", *rounds]
    assert found == {"slow": [pytest.approx(2000)] * 2, "quick": [pytest.approx(0)] * 2}
    assert times_as_fast({"a": [2.0, 4.0, 3.0], "b": [6.0]}, "a") == {"b": 2.0}


def _process_and_cores() -> tuple[int, int]:
    return os.getpid(), len(os.sched_getaffinity(0))


def test_a_bench_in_process_has_a_process_and_a_core_of_its_own() -> None:
    process_id, cores = on_one_core(_process_and_cores)
    assert process_id != os.getpid()
    assert cores == 1


def test_a_scan_is_measured_beside_the_reference_and_a_peer_and_a_missing_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scans, "BATCHES", (1, 24))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "faiss" else name)
    size = scans.Size(600, 16, ("numpy", "faiss-flat"), is_aimed=True)
    found, notes = scans.measure(size, SHORT)
    assert "faiss-flat is not installed: skipped" in notes
    assert {batch: list(times) for batch, times in found.items()} == {
        batch: ["engine", "reference", "numpy"] for batch in (1, 24)
    }
    rows = scans.rows(size, found, notes)
    assert [row.aim for row in rows] == [120.0, 50.0, 5.0]
    assert all(row.median for row in rows)


def test_the_engine_and_the_reference_of_a_bench_give_the_same_answers() -> None:
    vectors, queries = engine.clustered(500, 8, 24)
    calls = engine.kernels(engine.filled(vectors), 5)
    by_engine, by_reference = (call(queries) for call in calls.values())
    assert by_engine.hits.seqs.tolist() == by_reference.hits.seqs.tolist()  # type: ignore[attr-defined]


def test_the_bench_of_shaped_searches_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaped, "on_one_core", lambda measure, *given: measure(*given))
    monkeypatch.setattr(shaped, "ROWS", 2000)
    monkeypatch.setattr(shaped, "BATCHES", (1, 3))
    rows = shaped.bench(SHORT)
    assert [row.name for row in rows] == [
        f"{name}, batch {batch}" for batch in (1, 3) for name in shaped.CASES
    ]
    assert all(row.values and min(row.values) > 0 for row in rows)
    assert {row.aim for row in rows[: len(shaped.CASES)]} == {1.2, 1.3, 1.5, 5.0}


def test_filtered_and_hard_benches_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (filtered, hard):
        monkeypatch.setattr(module, "ROWS", 300)
        monkeypatch.setattr(module, "on_one_core", lambda bench, *more: bench(*more))
    rows = filtered.bench(SHORT)
    assert len(rows) == 16
    assert [row.aim for row in rows] == [None, 0.2, None, None] * 4
    assert {row.aim for row in hard.bench(SHORT)} == {2.0}
    for name, make in hard.DATA.items():
        made = make(np.random.default_rng(1), 50)
        assert made.shape == (50, hard.DIM), name
        assert made.dtype == np.float32
        assert np.isfinite(made).all()


def test_a_query_on_all_cores_stands_beside_one_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "SHARED", scans.Size(300, 8, ()))
    monkeypatch.setattr(scans, "usable_cores", lambda: 2)
    both, one = scans.shared(SHORT)
    assert (both.aim, one.aim) == (1600.0, None)
    assert min(*both.values, *one.values) > 0
    monkeypatch.setattr(scans, "usable_cores", lambda: 1)
    (alone,) = scans.shared(SHORT)
    assert alone.values


def test_what_takes_minutes_is_measured_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def noted(name: str) -> benches.Bench:
        return benches.Bench(name, lambda _: asked.append(name) or [], is_long=name == "b")  # type: ignore[func-returns-value]

    monkeypatch.setattr(command_line, "BENCHES", {name: noted(name) for name in "abc"})
    monkeypatch.setattr("sys.argv", ["aims"])
    assert command_line.main() == 0
    monkeypatch.setattr("sys.argv", ["aims", "b"])
    assert command_line.main() == 0
    assert asked == ["a", "c", "b"]
    capsys.readouterr()


def test_the_metadata_of_adds_would_be_80_bytes_of_json() -> None:
    price, note = requests._COLUMNS["price"], requests._COLUMNS["note"]
    for text in note["values"]:
        assert len(json.dumps({"price": price["low"], "note": text}, separators=(",", ":"))) == 80


def test_benches_through_a_server_measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = ["--config", unhurried(tmp_path)]
    serving = load.serving
    monkeypatch.setattr(load, "serving", lambda more: serving([*flags, *more]))
    monkeypatch.setattr(load, "CAPACITY", 1000)
    effort, rows = Effort(runs=1, seconds=0.3, long_seconds=0.5), list[Row]()
    until = time.monotonic() + PATIENCE_SECONDS
    # While a machine stands still for all of so short a run nothing is answered.
    while not rows or (not all(row.median for row in rows) and time.monotonic() < until):
        rows = [
            *requests.rest(effort),
            *requests.many_queries(effort),
            *requests.adds_with_metadata(effort),
        ]
    for row in rows:
        assert row.median is not None
        assert row.median > 0
        assert not row.faults


def test_the_command_lists_all_and_refuses_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["aims", "--list"])
    assert command_line.main() == 0
    said = capsys.readouterr().out
    assert all(name in said for name in benches.BENCHES)
    monkeypatch.setattr("sys.argv", ["aims", "rest", "nothing"])
    assert command_line.main() == 2
    assert "there is no nothing" in capsys.readouterr().err


def test_decayed_queries_are_asked_with_each_half_life_and_every_add_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Scenario] = []

    def run(scenario: Scenario, target: Target) -> Result:
        asked.append(scenario)
        return example.example("run")

    monkeypatch.setattr(load, "run", run)
    monkeypatch.setattr(load, "server", lambda _: nullcontext(Target("ws://nowhere", None)))
    rows = standing.decayed(Effort(runs=1))
    half_lives = [3600.0, 60.0, 10.0]
    assert [one.live.shapes for one in asked if one.live] == [
        [{"decay": {"half_life": one}}] for one in half_lives
    ]
    assert all(one.load.warm_up_seconds == 10.0 for one in asked)
    (push,) = example.example("run").pushes
    assert [row.values for row in rows] == [[push.told.p99_ms], [push.told.p50_ms]] * 3
    assert [row.aim for row in rows] == [10.0, None] * 3
    assert "2% of them merged" in rows[0].notes[0]
