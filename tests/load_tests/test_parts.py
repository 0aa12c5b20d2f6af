"""The pure parts of the load simulation: histograms, arrivals, vectors, the oracle, the knee."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.types import Hits

from load_tests.simulation import (
    arrivals,
    example,
    honesty,
    results,
    scenario,
    sweep,
    tables,
    truth,
    vectors,
)
from load_tests.simulation.histogram import Latencies
from load_tests.simulation.merging import is_reached
from load_tests.simulation.recording import Recording, Span
from load_tests.simulation.requests import AddLog, Sample, Searches
from load_tests.simulation.scenario import ScenarioError, Vectors
from load_tests.simulation.stream import Stream
from omendb_ws.wire import binary_replies
from omendb_ws.wire.messages import Results
from tests import oracle as judge_of_the_engine
from tests.oracle.numbers import stored

# -- histograms -----------------------------------------------------------------------------------


def test_merged_histograms_equal_one_histogram() -> None:
    seconds = np.random.default_rng(1).lognormal(-7, 1.5, 20_000)
    whole = Latencies()
    whole.record(seconds)
    merged = Latencies()
    for part in np.array_split(seconds, 7):
        one = Latencies()
        one.record(part)
        merged.merge(Latencies.decoded(one.encoded()))
    assert merged.percentiles() == whole.percentiles()
    assert merged.curve() == whole.curve()
    assert whole.count == 20_000


def test_percentiles_are_right_to_three_digits() -> None:
    seconds = np.random.default_rng(2).uniform(0.0005, 2.0, 10_000)
    made = Latencies()
    made.record(seconds)
    for percentile in (50.0, 90.0, 99.0, 99.9, 100.0):
        exact = np.percentile(seconds, percentile, method="inverted_cdf") * 1000
        assert made.ms(percentile) == pytest.approx(exact, rel=1e-3)


def test_nothing_counted_is_null_and_never_zero() -> None:
    assert Latencies().percentiles() == results.Percentiles(0, *[None] * 6)
    assert Latencies().curve() == []


# -- arrivals and recording -----------------------------------------------------------------------


def test_processes_share_a_constant_rate_without_gap_or_double() -> None:
    parts = [arrivals.constant(100.0, 2.0, part, 3) for part in range(3)]
    assert np.array_equal(np.sort(np.concatenate(parts)), arrivals.constant(100.0, 2.0))
    assert len(arrivals.constant(100.0, 2.0)) == 200


def test_poisson_arrivals_have_exponential_gaps_at_the_rate() -> None:
    times = arrivals.poisson(1000.0, 50.0, np.random.default_rng(3))
    gaps = np.diff(times)
    assert len(times) == pytest.approx(50_000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps >= 0).all()


def test_the_warm_up_is_cut_off_and_who_waited_in_vain_counts() -> None:
    recording = Recording("search")
    for at in np.arange(0.0, 4.0, 0.5).tolist():
        recording.answered(at, at + 0.1, at + 0.2)
    recording.failed(3.25, 3.25, 3.5, "overloaded")
    recording.failed(0.5, 0.5, 0.75, "overloaded")
    recording.never_answered(3.0, 3.0)
    plan = np.array([*np.arange(0.0, 4.0, 0.5), 3.9])
    part = recording.part(Span(0.0, 2.0, 4.0, 1.0), plan, unsent_from=8)
    assert (part.count, part.sent, part.unanswered, part.unsent) == (4, 6, 1, 1)
    assert part.offered == 5
    assert part.errors == {"overloaded": 1}
    assert part.late_sends == 4
    corrected = Latencies.decoded(part.corrected)
    assert corrected.count == 6
    assert corrected.ms(100) == pytest.approx(1000, rel=1e-3), "unanswered for a second so far"
    assert Latencies.decoded(part.uncorrected).ms(100) == pytest.approx(100, rel=1e-3)
    assert sorted(part.by_interval) == [0, 1]


def test_a_rate_is_reached_within_three_percent() -> None:
    assert is_reached(1000, 971, 10)
    assert not is_reached(1000, 969, 10)
    assert is_reached(10, 8, 1), "two requests at the edge of a short run are no shortfall"


# -- vectors --------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_vectors_and_queries_are_none_of_them() -> None:
    settings = Vectors(source="clustered", pool=500, clusters=5, drift=1.0)
    one, two = (vectors.pool(settings, 16, 7) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, vectors.pool(settings, 16, 8))
    asked = vectors.queries(settings, 16, 7, 100)
    assert not (one[:, None] == asked[None]).all(axis=2).any()


def test_drift_moves_the_clusters() -> None:
    still, moving = (
        vectors.pool(Vectors("clustered", pool=4000, clusters=1, spread=0.1, drift=drift), 32, 1)
        for drift in (0.0, 1.0)
    )
    ends = [pool[:500].mean(axis=0) @ pool[-500:].mean(axis=0) for pool in (still, moving)]
    assert ends[0] > 0.9
    assert ends[1] < 0.6


@pytest.mark.parametrize("suffix", [".npy", ".fvecs"])
def test_vectors_of_a_file_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    rows = np.random.default_rng(1).standard_normal((30, 6), dtype=np.float32)
    path = tmp_path / f"some{suffix}"
    if suffix == ".npy":
        np.save(path, rows)
    else:
        dims = np.full((30, 1), 6, "<i4").view("<f4")
        np.hstack([dims, rows]).astype("<f4").tofile(path)
    settings = Vectors("file", pool=20, path=str(path))
    assert vectors.dim_of(settings, 99) == 6
    assert np.array_equal(vectors.pool(settings, 6, 1), rows[:20])
    assert vectors.queries(settings, 6, 1, 5).shape == (5, 6)


@pytest.mark.parametrize("name", ["none.npy", "broken.fvecs", "broken.npy", "some.txt"])
def test_a_file_that_holds_no_vectors_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"\x03\0\0\0abcdefgh")
    with pytest.raises(ScenarioError, match=r"vectors\.path"):
        vectors.pool(Vectors("file", path=str(tmp_path / name)), 3, 1)


def test_the_digits_are_there() -> None:
    assert vectors.pool(Vectors("digits", 5000), 64, 1).shape == (1797, 64)


# -- scenarios ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "does nothing"),
        ({"serch": {}}, "serch: unknown"),
        ({"search": {"rat": 5}}, r"search\.rat: unknown"),
        ({"search": {"rate": "5"}}, r"search\.rate: must be a number"),
        ({"search": {"connections": 0}}, r"search\.connections: 0 is below 1"),
        ({"search": {"connections": True}}, r"search\.connections: must be an integer"),
        ({"search": {"arrivals": "often"}}, r"search\.arrivals: 'often' is none of closed"),
        ({"search": {"arrivals": "poisson"}}, r"search\.rate: missing"),
        ({"search": {"rate": 5}}, r"search\.rate: closed arrivals have none"),
        (
            {"search": {"texts": True, "verified": 0.1}},
            "search.texts: of plain searches by one vector, not verified",
        ),
        ({"add": {"texts": True}}, "add.texts"),
        (
            {"search": {"arrivals": "poisson", "rate": 5, "times_capacity": 5}},
            "not together with times_capacity",
        ),
        ({"search": {"in_flight": 2000}}, r"search\.in_flight"),
        ({"search": {"verified": 2}}, r"search\.verified"),
        ({"search": 5}, "search: must be a table"),
        ({"search": {}, "load": {"processes": 2}}, r"search\.connections: fewer than processes"),
        ({"search": {}, "load": {"seconds": 1e9}}, r"load\.seconds"),
        ({"search": {}, "load": {"seconds": float("nan")}}, r"load\.seconds"),
        ({"search": {}, "collection": {"metric": "cos"}}, r"collection\.metric"),
        ({"search": {}, "collection": {"ids": "int"}}, r"collection\.ids"),
        ({"search": {}, "columns": 5}, "columns: must be a table"),
        ({"search": {}, "columns": {"a": {"typ": "f64"}}}, r"columns\.a\.typ: unknown"),
        ({"search": {}, "columns": {"a": {"type": "f32"}}}, r"columns\.a\.type"),
        ({"search": {}, "columns": {"a": {"type": "str"}}}, r"columns\.a\.values"),
        ({"search": {}, "columns": {"a": {"values": ["x"]}}}, r"columns\.a\.values"),
        ({"search": {}, "columns": {"a": {"values": [1]}}}, r"columns\.a\.values: must be a list"),
        ({"search": {}, "columns": {"a": {"low": 2, "high": 1}}}, r"columns\.a\.high"),
        ({"search": {}, "columns": {"a": {"type": "i64", "nulls": 0.5}}}, r"columns\.a\.nulls"),
        ({"search": {"vectors": 20, "queries": 10}}, r"search\.vectors"),
        ({"live": {"verified": 2}}, r"live\.verified"),
        ({"live": {"verified": 1, "reads": False}}, r"live\.verified"),
        ({"feed": {"verified": 1}}, r"feed\.verified"),
        ({"search": {}, "vectors": {"source": "file"}}, r"vectors\.path: missing"),
        ({"add": {"rows": 11}, "collection": {"capacity": 10}}, r"add\.rows"),
        ({"search": {}, "description": 5}, "description"),
    ],
)
def test_a_scenario_that_makes_no_sense_names_its_field(
    document: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        scenario.parse("test", document, {})


def test_a_result_does_not_show_the_token() -> None:
    made = scenario.parse("test", {"search": {}, "load": {"token": "secret"}}, {})
    assert made.load.token == "secret"
    assert "secret" not in str(made.settings())


def test_an_override_of_what_a_scenario_does_not_do_is_refused() -> None:
    assert scenario.read("search", {"search.rate": 7}).requests["search"].rate == 7.0
    with pytest.raises(ScenarioError, match=r"add\.rate: scenario search has no table add"):
        scenario.read("search", {"add.rate": 7})
    with pytest.raises(ScenarioError, match="no such file"):
        scenario.read("nothing")


def test_a_result_is_the_same_after_json() -> None:
    for kind in ("run", "sweep"):
        made = example.example(kind)
        assert results.from_json(results.to_json(made)) == made
        assert "durability memory" in "\n".join(tables.lines(made))
    with pytest.raises(ValueError, match="schema"):
        results.from_json(b'{"schema":0}')


# -- the oracle -----------------------------------------------------------------------------------


def adds(*batches: tuple[int, int, int, int]) -> AddLog:
    log = AddLog()
    for version, first_seq, start, rows in batches:
        log.append(version, first_seq, start, rows, 0.0)
    return log


def test_history_orders_the_adds_of_all_and_ends_before_what_is_not_known() -> None:
    known = truth.history(adds((2, 3, 5, 3), (1, 1, 0, 2), (4, 9, 0, 1)), pool_rows=6)
    assert known.places.tolist() == [0, 1, 5, 0, 1]
    assert known.last_seqs.tolist() == [0, 2, 5]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dim", [1, 7, 8, 20])
def test_the_oracle_is_the_plain_python_one_to_the_bit(metric: str, dim: int) -> None:
    generator = np.random.default_rng(dim)
    pool, queries = (generator.standard_normal((n, dim), dtype=np.float32) for n in (30, 4))
    plain = judge_of_the_engine.Oracle(20, metric, "auto")
    log, first = AddLog(), 1
    for version, (start, rows) in enumerate([(0, 10), (10, 10), (20, 10), (0, 5)], 1):
        plain.add(pool[start : start + rows].tolist(), None, [{}] * rows, 0)
        log.append(version, first, start, rows, 0.0)
        first += rows
    made = truth.Oracle(pool, queries, truth.history(log, 30), 20, metric, 5)
    for number, query in enumerate(queries):
        asked = stored(metric, query.tolist())
        expected = [(seq, score) for _, seq, score in plain.search(asked, 5)]
        found = made.answer(4, number)
        assert found is not None
        assert [(seq, float(score)) for seq, score in found] == expected
    assert made.answer(5, 0) is None


def samples_of(oracle: truth.Oracle, change: str) -> list[Sample]:
    right = oracle.answer(1, 0)
    assert right is not None
    seqs = np.array([seq for seq, _ in right], np.uint64)
    scores = np.array([score for _, score in right], np.float32)
    if change == "order":
        seqs[[0, 1]], scores[[0, 1]] = seqs[[1, 0]], scores[[1, 0]]
    elif change == "bit":
        scores[2] = np.nextafter(scores[2], np.float32(9))
    elif change == "row":
        seqs[-1] = 1 if 1 not in seqs else 2
    elif change == "missing":
        seqs, scores = seqs[:-1], scores[:-1]
    version = 77 if change == "version" else 1
    hits = Hits(seqs, seqs, scores, None, None)
    answer = Results(version, np.array([len(seqs)], np.uint32), hits)
    return [Sample(0, binary_replies.encode_results(5, answer))]


@pytest.mark.parametrize(
    ("change", "mismatches", "recall"),
    [
        ("none", 0, 1.0), ("order", 1, 1.0), ("bit", 1, 1.0), ("row", 1, 0.8),
        ("missing", 1, 0.8), ("version", 0, None),
    ],
)  # fmt: skip
def test_the_slightest_wrong_is_a_mismatch(
    change: str, mismatches: int, recall: float | None
) -> None:
    generator = np.random.default_rng(1)
    pool, queries = (generator.standard_normal((n, 8), dtype=np.float32) for n in (30, 1))
    made = truth.Oracle(pool, queries, truth.history(adds((1, 1, 0, 30)), 30), 30, "cosine", 5)
    judged = truth.judge(made, truth.read(samples_of(made, change)))
    assert (judged.mismatches, judged.recall) == (mismatches, recall)
    assert judged.compared + judged.skipped == 1


# -- sending --------------------------------------------------------------------------------------


class Nobody:
    """A connection to which everything can be sent."""

    def __init__(self) -> None:
        self.handle = 1
        self.is_lost, self.is_writable = False, True
        self.sent = 0

    def queue(self, frame: bytearray) -> None:
        self.sent += 1

    def flush(self) -> None:
        """Nothing waits."""


async def test_what_was_due_when_the_loop_was_busy_across_the_end_is_sent() -> None:
    queries = np.ones((1, 4), np.float32)
    nobody, plan = Nobody(), np.array([0.0, 0.001, 0.002])
    source = Searches(queries, 1, 10, None, 0)
    stream = Stream("search", source, [nobody], 2, plan)  # type: ignore[list-item]
    began = time.perf_counter()
    stream.start(began)
    while time.perf_counter() < began + 0.02:
        pass  # the loop hears no alarm
    stream.stop()
    part = stream.part(Span(began, began, began + 0.01, 1.0))
    assert nobody.sent == 2, "there were two places"
    assert (part.sent, part.unsent) == (2, 1)
    assert part.generator_late_sends == part.late_sends == 2
    stream.stop()
    assert nobody.sent == 2


def test_a_generator_that_is_late_by_itself_is_not_honest() -> None:
    made = example.example("run")
    (one, *_), resources = made.operations, made.resources
    assert honesty.is_honest([one], resources)
    waiting = dataclasses.replace(one, late_sends=5000)
    assert honesty.is_honest([waiting], resources), "they waited for the server"
    late = dataclasses.replace(waiting, generator_late_sends=51)
    assert not honesty.is_honest([late], resources)
    assert any(
        "1.0% because the generator was" in note for note in honesty.notes([late], resources)
    )
    busy = dataclasses.replace(resources, generator_cpu_percent=90.0)
    assert not honesty.is_honest([one], busy)


# -- the knee -------------------------------------------------------------------------------------


def tried(rate: float, p99_ms: float, **changes: Any) -> sweep._Tried:
    made = example.example("run")
    times = dataclasses.replace(made.operations[0].corrected, p99_ms=p99_ms)
    operation = dataclasses.replace(
        made.operations[0],
        **{"offered_per_second": rate, "corrected": times, "errors": {}, **changes},
    )
    return sweep._Tried(made, operation, sweep.is_sustained(operation, 30.0))


def test_the_knee_is_the_highest_rate_below_every_one_that_failed() -> None:
    found = sweep.points(
        [tried(400, 5), tried(100, 2), tried(300, 31), tried(200, 3), tried(250, 4)]
    )
    assert [one.offered_per_second for one in found] == [100, 200, 250, 300, 400]
    assert [one.is_knee for one in found] == [False, False, True, False, False]


@pytest.mark.parametrize(
    "changes",
    [{"is_reached": False}, {"errors": {"overloaded": 1}}, {"unanswered": 1}, {"unsent": 1}],
)
def test_a_rate_at_which_anything_failed_is_not_sustained(changes: dict[str, Any]) -> None:
    assert tried(100, 2).is_sustained
    assert not tried(100, 2, **changes).is_sustained
    assert not any(one.is_knee for one in sweep.points([tried(100, 2, **changes)]))


def test_a_rate_that_fails_once_is_tried_again() -> None:
    def outcome(*sustained: bool) -> tuple[list[int], bool]:
        numbers: list[int] = []

        def attempt(number: int) -> sweep._Tried:
            numbers.append(number)
            return tried(100, 2 if sustained[number - 1] else 99)

        return numbers, sweep._until_sustained(attempt).is_sustained

    assert outcome(True) == ([1], True)
    assert outcome(False, True) == ([1, 2], True)
    assert outcome(False, False) == ([1, 2], False)
