"""Adds whose rows are left out where something near is there: judged against plain loops."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.admission import producers
from omendb_core.filters.parser import parse
from omendb_core.model.budget import Budget, Share
from omendb_core.model.change import AddChange, AddRequest, NotCaughtUp, Repeated, RowBatch
from omendb_core.model.errors import BadMetadata, DuplicateId, OmenError, OutOfOrder, Quota
from omendb_core.model.types import Definition, IdKind, Include, Metric, WindowLimits
from omendb_core.novelty import nearest
from omendb_core.novelty.unless_near import UnlessNear
from omendb_core.scan.choice import choose, names
from omendb_core.window import Window

from tests.examples import examples
from tests.filter_oracle import filters_for, metadata_for, passes
from tests.oracle import Oracle
from tests.oracle.numbers import f32, score, stored

KERNELS = sorted({"reference", names()[0]})
COLUMNS = {"price": "f64", "kind": "str"}
#: Few values, so that scores are equal often, and near duplicates stand in most adds.
PLACES = [0.0, 1.0, -1.0, 2.0, f32(1.0000001)]


def request(
    vectors: list[list[float]],
    ids: list[Any] | None,
    metadata: list[dict[str, Any]],
    kind: str,
    producer: str | None = None,
    batch: int | None = None,
) -> AddRequest:
    keys: Any = ids
    if kind == "u64" and ids is not None:
        keys = np.array(ids, np.uint64)
    payloads = [json.dumps(one).encode() if one else None for one in metadata]
    rows = RowBatch(np.array(vectors, np.float32), keys, metadata=metadata, payloads=payloads)
    return AddRequest(rows, producer, batch)


def expected(
    judge: Oracle,
    vectors: list[list[float]],
    ids: list[Any] | None,
    metadata: list[dict[str, Any]],
    least: float,
    document: Any,
) -> tuple[list[int], list[Any]]:
    """PROTOCOL section 4, word for word: places that are left out, and who is near."""
    least = float(np.float32(least)) if abs(least) < 1e38 else math.copysign(math.inf, least)
    before = list(judge.rows.values())
    taken: list[tuple[Any, int, list[float], dict[str, Any]]] = []
    skipped: list[int] = []
    near: list[Any] = []
    for place, vector in enumerate(vectors):
        own = None if ids is None else ids[place]
        asked = stored(judge.metric, vector)
        others = [
            (row.id, row.seq, row.vector, row.metadata)
            for row in before
            if own is None or row.id != own
        ]
        found = [
            (score(judge.metric, vector, asked), seq, key)
            for key, seq, vector, data in others + taken
            if document is None or passes(document, data)
        ]
        found = [one for one in found if one[0] >= least]
        if found:
            skipped.append(place)
            near.append(max(found, key=lambda one: one[:2])[2])
            continue
        seq = judge.last_seq + len(taken) + 1
        taken.append((seq if own is None else own, seq, asked, metadata[place]))
    return skipped, near


def key_of(kind: IdKind, number: int) -> Any:
    return f"ï{number}" if kind == "str" else number


@st.composite
def adds(draw: st.DrawFn) -> list[Any]:
    return draw(
        st.lists(
            st.tuples(
                st.lists(
                    st.tuples(
                        st.lists(st.sampled_from(PLACES), min_size=2, max_size=2).filter(any),
                        metadata_for(COLUMNS),
                    ),
                    min_size=1,
                    max_size=7,
                ),
                st.permutations(range(9)),
                st.sampled_from([0.0, 1.0, 0.9999999, -0.5, -2.0, 1.5, 4.0, 1e300, -1e300]),
                st.one_of(st.none(), filters_for(COLUMNS)),
            ),
            min_size=1,
            max_size=5,
        )
    )


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=examples(120), deadline=None)
@given(
    st.sampled_from(["cosine", "dot", "l2"]),
    st.sampled_from(["auto", "u64", "str"]),
    st.integers(1, 3),
    adds(),
)
def test_what_is_left_out_is_what_loops_over_all_pairs_leave_out(
    kernel: str, metric: Metric, kind: IdKind, piece: int, all_adds: list[Any]
) -> None:
    definition = Definition(2, 7, metric, kind, COLUMNS)  # type: ignore[arg-type]
    window = Window(definition, scan=choose(kernel))
    judge = Oracle(7, metric, kind, passes=passes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omendb_core.novelty.unless_near.vectors_of_piece", lambda *_: piece)
        for rows, keys, least, document in all_adds:
            vectors, metadata = [list(one[0]) for one in rows], [one[1] for one in rows]
            ids = None if kind == "auto" else [key_of(kind, key) for key in keys[: len(rows)]]
            filter_ = None if document is None else parse(document, definition.columns)
            skipped, near = expected(judge, vectors, ids, metadata, least, document)

            asked = request(vectors, ids, metadata, kind)
            judged = window.judge_add(asked, UnlessNear(least, filter_))
            assert not isinstance(judged, Repeated)
            judged.finish()
            left = judged.left_out(window.last_seq + 1)
            assert (left.skipped, list(left.near)) == (skipped, near)

            version = window.version
            change = window.admit_add(asked, 0, judged)
            taken = [place for place in range(len(rows)) if place not in skipped]
            if not taken:
                assert change is None
                assert window.version == version == window.admission.admitted.version
                continue
            assert isinstance(change, AddChange)
            window.apply(change)
            window.check()
            judge.add(
                [vectors[place] for place in taken],
                None if ids is None else [ids[place] for place in taken],
                [metadata[place] for place in taken],
                0,
            )
            found = window.state.hits(
                window.state.ring.live_slots(1, window.last_seq), Include(vector=True)
            )
            assert found.seqs.tolist() == sorted(judge.rows)
            assert list(found.ids) == [judge.rows[seq].id for seq in sorted(judge.rows)]
            assert found.vectors is not None
            assert found.vectors.tolist() == [judge.rows[seq].vector for seq in sorted(judge.rows)]


def one_window(**further: Any) -> Window:
    return Window(Definition(2, 100, "dot", "u64"), **further)


def plain(numbers: list[int], value: float = 1.0, **further: Any) -> AddRequest:
    rows = [[value, float(number)] for number in numbers]
    return request(rows, numbers, [{}] * len(numbers), "u64", **further)


def taken(window: Window, asked: AddRequest, unless_near: UnlessNear) -> Any:
    judged = window.judge_add(asked, unless_near)
    if isinstance(judged, Repeated):
        return judged
    judged.finish()
    return window.admit_add(asked, 0, judged)


ALL_NEAR = UnlessNear(-1e6)


def test_a_batch_of_which_no_row_goes_in_uses_up_its_number_and_keeps_the_version() -> None:
    window = one_window()
    window.apply(taken(window, plain([1], producer="p", batch=1), ALL_NEAR))
    empty = taken(window, plain([2, 3], producer="p", batch=2), ALL_NEAR)
    assert empty.is_empty
    assert (empty.version, empty.producer, empty.batch) == (1, "p", 2)
    window.apply(empty)
    window.check()
    assert (window.version, window.last_seq, window.rows) == (1, 1, 1)
    assert taken(window, plain([2], producer="p", batch=2), ALL_NEAR) == Repeated(None, None)
    assert taken(window, plain([1], producer="p", batch=1), ALL_NEAR) == Repeated(1, 1)
    with pytest.raises(OutOfOrder) as refused:
        taken(window, plain([2], producer="p", batch=4), ALL_NEAR)
    assert refused.value.details == {"expected": 3}
    window.apply(taken(window, plain([2], producer="p", batch=3), UnlessNear(1e6)))
    assert (window.version, window.last_seq) == (2, 2)
    assert taken(window, plain([2], producer="p", batch=3), ALL_NEAR) == Repeated(2, 2)


def test_faults_of_rows_are_told_before_anything_is_compared_and_behind_a_repeated_batch() -> None:
    window = one_window()
    window.apply(taken(window, plain([1], producer="p", batch=1), ALL_NEAR))
    twice = plain([5, 5], producer="p", batch=2)
    with pytest.raises(DuplicateId):
        window.judge_add(twice, ALL_NEAR)
    bad = AddRequest(BadMetadata("bad", row=0), "p", 1)
    assert window.judge_add(bad, ALL_NEAR) == Repeated(1, 1)
    with pytest.raises(OmenError):
        window.judge_add(AddRequest(BadMetadata("bad", row=0), "p", 2), ALL_NEAR)
    assert window.admission.admitted.producers.state() == [("p", 1, ((1, 1),))]


def test_it_is_behind_until_everything_ahead_of_it_is_applied() -> None:
    window = one_window()
    ahead = window.admit_add(plain([1]), 0)
    assert ahead is not None
    with pytest.raises(NotCaughtUp):
        window.judge_add(plain([2]), ALL_NEAR)
    window.apply(ahead)  # type: ignore[arg-type]
    judged = window.judge_add(plain([2]), ALL_NEAR)
    assert not isinstance(judged, Repeated)
    judged.finish()
    window.apply(window.admit_add(plain([3]), 0))  # type: ignore[arg-type]
    with pytest.raises(NotCaughtUp):
        window.admit_add(plain([2]), 0, judged)


def test_an_empty_batch_is_charged_for_its_producer_and_for_nothing_else() -> None:
    budget = Budget("max_memory_bytes", 10_000_000)
    window = Window(Definition(2, 100, "dot", "u64"), share=Share(budget, "a window takes"))
    window.apply(window.admit_add(plain([1]), 0))  # type: ignore[arg-type]
    before = budget.taken_bytes
    window.apply(taken(window, plain([2], producer="p", batch=1), ALL_NEAR))
    after = budget.taken_bytes
    assert after - before == producers._bytes_of("p")


def test_only_rows_that_go_in_count_against_the_quota() -> None:
    limits = WindowLimits(max_payload_bytes=100)
    window = Window(Definition(2, 100, "dot", "u64"), limits)
    long = {"text": "x" * 60}
    first = request([[1.0, 1.0]], [1], [long], "u64")
    window.apply(taken(window, first, ALL_NEAR))
    second = request([[1.0, 2.0], [1.0, 3.0]], [2, 3], [long, long], "u64")
    assert taken(window, second, ALL_NEAR) is None
    with pytest.raises(Quota):
        taken(window, second, UnlessNear(1e6))
    assert window.version == 1


@pytest.mark.parametrize("count", [1, 300])
def test_of_rows_that_are_all_alike_the_first_goes_in(count: int) -> None:
    window = Window(Definition(2, 1000, "cosine", "auto"))
    rows = RowBatch(np.ones((count, 2), np.float32))
    judged = window.judge_add(AddRequest(rows), UnlessNear(0.999))
    assert not isinstance(judged, Repeated)
    steps = 0
    while not judged.is_through:
        judged.step()
        steps += 1
    assert steps == -(-count // nearest.vectors_of_piece(1, 2))
    left = judged.left_out(1)
    assert left.skipped == list(range(1, count))
    assert list(left.near) == [1] * (count - 1)
