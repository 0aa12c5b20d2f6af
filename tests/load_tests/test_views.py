"""What pushes make of a live subscription: its view, its lag, and what the oracle says to it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from omendb_core.model.types import Hits

from load_tests.simulation import truth
from load_tests.simulation.requests import AddLog
from load_tests.simulation.scenario import Standing
from load_tests.simulation.subscribers import Base, Subscribers
from load_tests.simulation.views import Answered, Key, View
from omendb_ws.wire import binary_replies
from omendb_ws.wire.live import encode_binary
from omendb_ws.wire.messages import LivePushes, Rows


def plainly(hits: Iterable[tuple[int, float]]) -> list[tuple[int, Key]]:
    return [(seq, (0.0, score)) for seq, score in hits]


def live_push(
    version: int, enter: list[int], leave: list[int], scores: list[float] | None = None
) -> bytes:
    seqs = np.array(enter, np.uint64)
    values = np.array([0.0] * len(enter) if scores is None else scores, np.float32)
    left, reasons = np.array(leave, np.uint64), np.zeros(len(leave), np.uint8)
    pushes = LivePushes(
        version, [3], [len(leave)], list(leave), left, reasons, [len(enter)],
        Hits(seqs, seqs, values, None, None),
    )  # fmt: skip
    (message,) = encode_binary(pushes)
    return message


@pytest.mark.parametrize(
    ("enter", "leave", "cause", "told"),
    [
        ({105: 0.5}, [40], 105, [105]),  # displaced
        ({107: 0.5, 105: 0.6}, [40, 41], 105, [107, 105]),
        ({106: 0.5, 105: 0.6}, [40, 41], 105, [105]),  # of one add
        ({105: 0.3}, [7], 107, [107]),  # 7 was evicted by 107; 105 is merely the next best
        ({99: 0.3}, [6], 106, [106]),
        ({105: 0.3, 103: 0.9}, [7], 103, [103, 107]),  # merged: 103 came before 7 was evicted
        ({99: 0.5}, [40], -1, []),  # nothing that an add since the last push did
        ({}, [8], 108, [108]),
    ],
)
def test_the_lag_of_a_live_push_runs_from_the_add_that_changed_the_answer(
    enter: dict[int, float], leave: list[int], cause: int, told: list[int]
) -> None:
    base = Base(version=10, last_seq=100, capacity=100, rows=2)
    found = Subscribers("live", Standing(k=5), base)
    held = [(40, 0.4), (41, 0.8), (6, 0.7), (7, 0.6), (8, 0.5)]
    views = {3: View(0, 5, 10, plainly(held))}
    found._take(views, {}, live_push(14, list(enter), leave, list(enter.values())), 1.0)
    assert found.part().causes.tolist() == [cause]
    assert found.part().rows.tolist() == [len(enter)]
    assert found.part().told[1].tolist() == told
    assert len(found.part().merged) == (len(told) > 1)


def test_vectors_in_a_push_do_not_hide_what_left() -> None:
    base = Base(version=10, last_seq=100, capacity=100, rows=2)
    found = Subscribers("live", Standing(k=2), base)
    seqs, scores = np.array([105], np.uint64), np.array([0.5], np.float32)
    hits = Hits(seqs, seqs, scores, None, np.ones((1, 5), np.float32))
    left = np.array([40], np.uint64)
    pushes = LivePushes(14, [3], [1], [40], left, np.zeros(1, np.uint8), [1], hits)
    (message,) = encode_binary(pushes)
    view = View(0, 2, 10, plainly([(41, 0.75), (40, 0.25)]))
    found._take({3: view}, {}, message, 1.0)
    assert view.answered() == (0, 14, [(41, 0.75), (105, 0.5)])


def test_a_view_is_ordered_by_rank_and_what_has_none_comes_last() -> None:
    base = Base(version=10, last_seq=100, capacity=100, rows=2)
    found = Subscribers("live", Standing(k=4), base)
    seqs = np.array([105, 107, 108], np.uint64)
    scores = np.array([0.25, 0.75, 0.5], np.float32)
    hits = Hits(
        seqs, seqs, scores, None, np.ones((3, 5), np.float32), np.array([9.0, np.nan, np.nan])
    )
    left = np.array([40], np.uint64)
    pushes = LivePushes(14, [3], [1], [40], left, np.zeros(1, np.uint8), [3], hits)
    (message,) = encode_binary(pushes)
    view = View(0, 4, 10, [(41, (7.0, 0.5)), (40, (8.0, 0.5))])
    found._take({3: view}, {}, message, 1.0)
    order = [(105, 0.25), (41, 0.5), (107, 0.75), (108, 0.5)]
    assert view.answered() == (0, 14, order)
    # Only what is as good as the worst of an answer changes it: one without a rank is not.
    assert found._causes_of(view, 16, [], [(109, (float("-inf"), 0.25))]) == []
    assert found._causes_of(view, 16, [], [(109, (float("-inf"), 0.5))]) == [109]


class Law:
    """A pool, its history and an oracle; pushes as they must be for one standing query."""

    def __init__(self) -> None:
        generator = np.random.default_rng(7)
        self.pool, queries = (generator.standard_normal((n, 6), dtype=np.float32) for n in (60, 1))
        self.log, seq = AddLog(), 1
        for version in range(1, 41):
            self.log.append(version, seq, (seq - 1) % 60, 2, 0.0)
            seq += 2
        history = truth.history(self.log, 60)
        self.oracle = truth.Oracle(self.pool, queries, history, 30, "cosine", 4)

    def answer(self, version: int) -> dict[int, float]:
        found = self.oracle.answer(version, 0)
        assert found is not None
        return dict(found)

    def pushes(self) -> list[tuple[int, dict[int, float], list[int]]]:
        """(version, what enters, what leaves) from version 20 on."""
        found = []
        before = self.answer(20)
        for version in range(21, 41):
            now = self.answer(version)
            enter = {seq: score for seq, score in now.items() if seq not in before}
            leave = [seq for seq in before if seq not in now]
            if enter or leave:
                found.append((version, enter, leave))
            before = now
        return found


@pytest.mark.parametrize("wrong", ["nothing", "lost", "no leave", "another row", "bit", "the last"])
def test_a_push_that_is_wrong_in_anything_is_a_mismatch_from_then_on(wrong: str) -> None:
    law = Law()
    settings = Standing(k=4, verified=1.0)
    subscribers = Subscribers("live", settings, Base(20, 40, 30, 2))
    view = View(0, 4, 20, plainly(law.answer(20).items()))
    subscribers._sample.offer(view, law.pool[0])
    pushes = law.pushes()
    assert len(pushes) > 5
    version, enter, leave = pushes[2]
    if wrong == "lost":
        del pushes[2]
    elif wrong == "no leave":
        pushes[2] = (version, enter, leave[1:])
    elif wrong == "another row":
        pushes[2] = (version, {seq + 1: score for seq, score in enter.items()}, leave)
    elif wrong == "bit":
        one = {seq: float(np.nextafter(np.float32(x), np.float32(9))) for seq, x in enter.items()}
        pushes[2] = (version, one, leave)
    elif wrong == "the last":
        del pushes[-1]
    for version, enter, leave in pushes:
        message = live_push(version, list(enter), leave, list(enter.values()))
        subscribers._take({3: view}, {}, message, 1.0)
    views = [*subscribers.part().views, view.answered()._replace(version=40)]
    judged = truth.judge(law.oracle, views)
    assert judged.compared == len(pushes) + 2
    assert (judged.mismatches == 0) is (wrong == "nothing")


@pytest.mark.parametrize("wrong", [False, True])
def test_where_no_oracle_can_tell_the_last_views_are_compared_with_searches(wrong: bool) -> None:
    law = Law()
    hits = list(law.answer(40).items())
    search = Answered(0, 40, hits)
    view = search._replace(hits=hits[1:]) if wrong else search
    judged = truth.agreement([(search, search), (view._replace(query=1), search._replace(query=1))])
    assert (judged.compared, judged.mismatches) == (2, int(wrong))


def match_push(to_seq: int, hits: list[tuple[int, float]]) -> bytes:
    seqs = np.array([seq for seq, _ in hits], np.uint64)
    scores = np.array([score for _, score in hits], np.float32)
    return binary_replies.encode_rows(
        Rows(3, "match", 1, to_seq, Hits(seqs, seqs, scores, None, None))
    )


@pytest.mark.parametrize("wrong", ["nothing", "lost", "twice", "bit", "not one", "order"])
def test_a_match_that_is_wrong_in_anything_is_a_mismatch(wrong: str) -> None:
    law = Law()
    expected = law.oracle.matches(0, 10, 70, 0.2)
    assert expected is not None
    assert 5 < len(expected) < 60
    sent = list(expected)
    if wrong == "lost":
        del sent[3]
    elif wrong == "twice":
        sent.insert(3, sent[3])
    elif wrong == "bit":
        sent[3] = (sent[3][0], float(np.nextafter(np.float32(sent[3][1]), np.float32(9))))
    elif wrong == "not one":
        odd = next(seq for seq in range(11, 70) if seq not in dict(expected))
        sent.append((odd, 0.1))
    elif wrong == "order":
        sent[2:4] = sent[3], sent[2]
    settings = Standing(min_score=0.2, verified=1.0)
    subscribers = Subscribers("match", settings, Base(20, 40, 30, 2))
    match = subscribers._matches.offer(0, 10)
    assert match is not None
    half = len(sent) // 2
    subscribers._take({}, {3: match}, match_push(40, sent[:half]), 1.0)
    match.take(70, *zip(*sent[half:], strict=True))
    judged = truth.judge_matches(law.oracle, subscribers.part().matched, 0.2)
    assert judged.compared == 1
    assert judged.mismatches == (wrong != "nothing")


def test_after_a_gap_a_match_is_looked_at_no_further() -> None:
    subscribers = Subscribers("match", Standing(verified=1.0), Base(20, 40, 30, 2))
    match = subscribers._matches.offer(0, 10)
    assert match is not None
    subscribers._take({}, {3: match}, match_push(40, [(12, 0.5)]), 1.0)
    gap = b'{"event":"gap","sub":3,"from_seq":41,"to_seq":60,"reason":"slow"}'
    subscribers._take({}, {3: match}, gap, 1.0)
    subscribers._take({}, {3: match}, match_push(70, [(69, 0.5)]), 1.0)
    (found,) = subscribers.part().matched
    assert found == (0, 10, 40, [(12, 0.5)])
    assert len(subscribers.part().gap_times) == 1
