"""The rows of an add as frames: what is copied, what is checked, how it is cut and named."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadVector, NonFinite, OmenError
from omendb_core.model.types import NULL_CODE, StrColumn

from omendb_ws.client import arrays, frames
from omendb_ws.client.added import Added
from omendb_ws.client.arrays import as_vectors
from omendb_ws.client.descriptions import Opened
from omendb_ws.client.frames import Frame, Job
from omendb_ws.client.rows import checked_rows, given_rows
from omendb_ws.wire import binary, messages
from omendb_ws.wire.limits import Limits
from tests.examples import examples

from .world import description


def job(**given: Any) -> Job:
    """A job of two-dimensional rows."""
    fields = {"ids": None, "metadata": None, "columns": None, **given}
    columns = fields["columns"] or {}
    kinds = {"f": "f64", "i": "i64", "b": "bool", "s": "str"}
    made = description(columns={name: kinds[name] for name in columns}, ids="auto")
    return Job(checked_rows(made, given_rows(**fields)), 1_000, 1 << 20, lambda outcome: None)


def cut(one: Job) -> list[tuple[Frame, RowBatch]]:
    """All frames of a job, and what a server reads in them."""
    found = []
    while not one.is_cut:
        frame = Frame(one, one.cut, "p", len(found) + 1)
        found.append((frame, read(frame.encode(7, Opened(3, description())))))
        assert frame.rows == len(found[-1][1].vectors)
    return found


def decode(message: bytes) -> messages.Add:
    add = binary.decode_request(message, Limits())
    assert isinstance(add, messages.Add), add
    return add


def read(message: bytes) -> RowBatch:
    batch = decode(message).rows
    assert isinstance(batch, RowBatch), batch
    return batch


# -- vectors ------------------------------------------------------------------------------------


def test_a_contiguous_float32_array_is_not_copied() -> None:
    array = np.ones((3, 2), np.float32)
    assert as_vectors(array) is array
    assert as_vectors(array[1:]).base is array


@pytest.mark.parametrize(
    "given",
    [
        [[1, 2], [3, 4]],
        [(1.0, 2.0), (3.0, 4.0)],
        [np.array([1, 2]), np.array([3, 4])],
        np.array([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], ">f8"),
        np.array([[1, 3], [2, 4]], np.float64).T,
        np.array([[1, 0, 2, 0], [3, 0, 4, 0]], np.float16)[:, ::2],
    ],
)
def test_whatever_holds_numbers_becomes_contiguous_float32(given: Any) -> None:
    made = as_vectors(given)
    assert made.dtype == np.dtype("<f4")
    assert made.flags.c_contiguous
    assert made.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("place", [0, 1, 511, 512, 999])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, place: int, value: float
) -> None:
    monkeypatch.setattr(arrays, "CHECKED_VALUES", 512)
    array = np.ones((500, 2), np.float32)
    array.reshape(-1)[place] = value
    with pytest.raises(NonFinite) as caught:
        as_vectors(array)
    assert caught.value.row == place // 2


@pytest.mark.parametrize("values", [[3e38] * 4, [3e38, -3e38], [1e-40] * 3, []])
def test_finite_values_whose_squares_are_not_are_taken_and_warn_nobody(values: list[float]) -> None:
    array = np.array(values, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_vectors(array) is array


def test_what_overflows_float32_is_not_finite_and_warns_nobody() -> None:
    with pytest.raises(NonFinite):
        as_vectors([[1e300, 0.0]])


@pytest.mark.parametrize("given", [None, 5, "12", [["1", "2"]], [[None, 1]], {}, [[1j, 2]], [[]]])
def test_what_holds_no_numbers_is_a_bad_vector(given: Any) -> None:
    with pytest.raises(OmenError) as caught:
        given_rows(given, None, None, None)
    assert caught.value.code in ("bad_vector", "dim_mismatch", "bad_request")


def test_the_row_that_is_no_list_of_numbers_is_named() -> None:
    with pytest.raises(BadVector) as caught:
        as_vectors([[1, 2], [1, [2]]])
    assert caught.value.row == 1


# -- cutting ------------------------------------------------------------------------------------


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(
    count=st.integers(1, 200),
    aim=st.integers(64, 4_000),
    texts=st.lists(st.one_of(st.none(), st.text(max_size=300)), min_size=1, max_size=20),
)
def test_whatever_the_sizes_every_row_is_in_one_frame_and_in_order(
    count: int, aim: int, texts: list[str | None]
) -> None:
    vectors = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    metadata = [None if at % 3 else {"m": texts[at % len(texts)]} for at in range(count)]
    strings = [texts[at % len(texts)] for at in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "FRAME_BYTES", aim)
        found = cut(job(vectors=vectors, metadata=metadata, columns={"s": strings}))
    assert np.concatenate([batch.vectors for _, batch in found]).tolist() == vectors.tolist()
    seen: list[str | None] = []
    objects: list[Any] = []
    for _, batch in found:
        column = batch.columns["s"]
        assert isinstance(column, StrColumn)
        codes = column.codes.tolist()
        seen += [None if code == NULL_CODE else column.dictionary[code] for code in codes]
        assert set(column.dictionary) == {text for text in strings if text in column.dictionary}
        objects += batch.metadata or [None] * len(batch.vectors)
    assert seen == strings
    assert objects == metadata
    for frame, batch in found:
        assert len(batch.vectors) == 1 or frame.size_bytes <= 2 * aim


def test_half_of_what_the_server_reads_is_never_aimed_beyond() -> None:
    one = job(vectors=np.ones((1_000, 2), np.float32))
    one.max_bytes = 1_000
    assert all(frame.size_bytes <= 1_000 for frame, _ in cut(one))


def test_a_frame_sent_again_is_the_same_but_for_its_id_and_handle() -> None:
    array = np.ones((3, 2), np.float32)
    frame = Frame(job(vectors=array, columns={"i": [1, 2, 3]}), 0, "p", 1)
    first = frame.encode(7, Opened(3, description()))
    array[:] = 9  # a cancelled caller may do as it likes
    again = frame.encode(8, Opened(4, description()))
    assert again[:4] + again[12:] == first[:4] + first[12:]
    add = decode(again)
    assert (add.id, add.collection, add.producer, add.batch) == (8, 4, "p", 1)


@pytest.mark.parametrize("number", [2, 12, 123_456_789])
def test_a_renamed_frame_differs_in_producer_and_batch_alone(number: int) -> None:
    one = job(
        vectors=np.arange(6, dtype=np.float32).reshape(3, 2),
        metadata=[{"a": "ü"}, None, {"z": [1, {"c": None}]}],
        columns={"s": ["x", None, "y"], "f": [0.5, None, 2], "b": [True, False, True]},
    )
    frame = Frame(one, 0, "p", 1)
    before = read(frame.encode(7, Opened(3, description())))
    frame.producer, frame.number = "another", number
    add = decode(frame.encode(9, Opened(5, description())))
    assert (add.id, add.collection, add.producer, add.batch) == (9, 5, "another", number)
    after = add.rows
    assert isinstance(after, RowBatch)
    assert after.vectors.tolist() == before.vectors.tolist()
    assert after.metadata == before.metadata
    assert after.columns.keys() == before.columns.keys()
    for name in ("f", "b"):
        np.testing.assert_array_equal(after.columns[name], before.columns[name])


def test_an_acknowledgement_tells_of_all_the_frames_together() -> None:
    outcomes: list[Any] = []
    one = job(vectors=np.ones((5, 2), np.float32))
    one.done = outcomes.append
    one.acknowledge(2, messages.Added(4, None, None, duplicate=True), "e1")
    assert not outcomes
    one.acknowledge(3, messages.Added(9, 30, 32), "e1")
    assert outcomes == [Added(9, None, 32, 5, duplicate=True)]
