"""Batches: the same ones whenever the file is read, and none that the server would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.files.chunks import BadRow, Chunk
from omendb_ws.transfer.cutting import Batch, Plan, cut, plan
from omendb_ws.transfer.naming import producer_name
from omendb_ws.transfer.usable import Wanted
from omendb_ws.wire.limits import Limits

WANTED = Wanted("cosine", {"n": "i64"}, 4096)


def chunk(first: int, ids: Sequence[Any] | None, bad: Sequence[int] = (), **fields: Any) -> Chunk:
    """Rows from ``first`` on; the vector of a row starts with its number."""
    count = fields.pop("count", None) or len(ids or ())
    numbers = np.arange(first, first + count)
    vectors = np.ones((count, 2))
    vectors[:, 0] = numbers
    for one in bad:
        vectors[one - first] = np.nan
    made = ids if ids is None or (ids and isinstance(ids[0], str)) else np.array(ids, np.uint64)
    return Chunk(vectors, numbers, ids=made, **fields)


def batches(chunks: list[Chunk], bad: list[BadRow] | None = None) -> list[Batch]:
    return list(cut(chunks, WANTED, (bad if bad is not None else []).append))


def rows(batch: Batch) -> list[int]:
    assert batch.vectors.dtype == np.float32
    assert batch.vectors.flags.c_contiguous
    assert batch.vectors[:, 0].tolist() == batch.numbers.tolist()
    return [int(one) for one in batch.numbers]


def test_a_chunk_is_a_batch_and_numbers_count_from_one() -> None:
    made = batches([chunk(0, [5, 6, 7]), chunk(3, [8, 9])])
    assert [(batch.number, rows(batch)) for batch in made] == [(1, [0, 1, 2]), (2, [3, 4])]


@pytest.mark.parametrize("ids", [[1, 2, 1, 2, 2, 3], list("abABBc".lower())])
def test_an_id_that_comes_again_begins_a_batch(ids: Any) -> None:
    made = batches([chunk(0, ids)])
    assert [rows(batch) for batch in made] == [[0, 1], [2, 3], [4, 5]]
    assert [one for batch in made for one in list(batch.ids)] == ids  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_no_batch_has_an_id_twice_and_no_row_is_lost(ids: list[int]) -> None:
    made = batches([chunk(0, ids)])
    assert [one for batch in made for one in rows(batch)] == list(range(len(ids)))
    for batch in made:
        assert len(set(batch.ids.tolist())) == len(batch)  # type: ignore[union-attr]


def test_metadata_that_is_too_much_for_one_batch_is_cut() -> None:
    metadata = [{"text": "x" * 4000}] * 300
    made = batches([chunk(0, None, count=300, metadata=metadata)])
    assert len(made) == 3
    assert [one for batch in made for one in rows(batch)] == list(range(300))
    assert [len(batch.metadata or ()) for batch in made] == [len(batch) for batch in made]


def test_bad_rows_are_left_out_and_told_in_order() -> None:
    bad: list[BadRow] = []
    made = batches(
        [
            chunk(0, [1, 2, 3, 4], bad=[1], metadata=[{}, {}, {"n": "x"}, {"n": 1}]),
            chunk(5, [6, 7], bad=[5, 6]),
            Chunk(np.ones((1, 2)), np.array([8]), ids=np.array([9], np.uint64),
                  bad=[BadRow(7, "worse")]),
        ],
        bad,
    )  # fmt: skip
    assert [one.number for one in bad] == [1, 2, 5, 6, 7]
    assert [batch.number for batch in made] == [1, 2, 3]
    assert [batch.numbers.tolist() for batch in made] == [[0], [3], [8]]
    assert made[1].metadata == [{"n": 1}]


def test_rows_before_a_bad_one_come_out_before_it_is_told() -> None:
    seen: list[Any] = []

    def refuse(bad: BadRow) -> None:
        raise ValueError(bad.number)

    made = cut([chunk(0, [1, 2, 3, 4, 5], bad=[3])], WANTED, refuse)
    with pytest.raises(ValueError, match="3"):
        seen.extend(one for batch in made for one in rows(batch))
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("dim", "capacity", "limits", "asked", "rows"),
    [
        (128, 100_000, {}, {}, 496),
        (128, 10, {}, {}, 10),
        (2, 100_000, {"max_rows": 100}, {}, 100),
        (4096, 10, {}, {}, 10),
        (1 << 17, 10, {}, {}, 1),
        (128, 100_000, {}, {"batch_rows": 7}, 7),
        (128, 100_000, {}, {"batch_rows": 10_000}, 10_000),
        (128, 100_000, {}, {"batch_rows": 10**9}, 15_887),
        (128, 100_000, {}, {"rate": 1000.0}, 50),
        (128, 100_000, {}, {"rate": 0.5}, 1),
    ],
)
def test_rows_of_a_batch_are_bounded_by_size_window_server_and_user(
    dim: int, capacity: int, limits: dict[str, int], asked: dict[str, Any], rows: int
) -> None:
    assert plan(dim, capacity, WANTED, Limits(**limits), **asked).rows == rows


# -- names ------------------------------------------------------------------------------------


def test_a_name_stands_for_a_file_as_it_is_and_how_it_is_read(tmp_path: Any) -> None:
    path, how = tmp_path / "rows", Plan(5, WANTED)
    path.write_bytes(b"1")
    name = producer_name([str(path)], {"a": 1}, how)
    assert producer_name([str(path)], {"a": 1}, Plan(5, WANTED)) == name
    assert len(name.encode()) <= 64
    others = {producer_name([str(path)], {"a": 2}, how)}
    others.add(producer_name([str(path)], {"a": 1}, Plan(6, WANTED)))
    others.add(producer_name([str(path)], {"a": 1}, Plan(5, Wanted("dot", {}, 4096))))
    other = tmp_path / "other"
    other.write_bytes(b"1")
    others.add(producer_name([str(other)], {"a": 1}, how))
    others.add(producer_name([str(path), str(other)], {"a": 1}, how))
    path.write_bytes(b"12")
    others.add(producer_name([str(path)], {"a": 1}, how))
    assert len(others) == 6
    assert name not in others
