"""Plain searches: read and answered to the byte as ``binary`` reads and answers them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from omendb_core.model.errors import BadFrame
from omendb_core.model.types import Hits

from omendb_ws.wire import binary, binary_replies
from omendb_ws.wire.messages import Refusal, Results, Search
from omendb_ws.wire.opcodes import HEADER_BYTES, Limits
from omendb_ws.wire.searches import (
    PlainSearch,
    encode_answers,
    encode_plain,
    read_answer,
    read_plain,
    vectors_of,
)

LIMITS = Limits(max_k=20, max_queries=3, max_dim=8)


def frame(n: int = 1, dim: int = 2, k: int = 3, id: int = 5) -> bytes:
    vectors = np.arange(n * dim, dtype=np.float32).reshape(n, dim)
    return binary.encode_search(id, 9, vectors, k)


def plain(n: int = 1, dim: int = 2, k: int = 3, id: int = 5) -> PlainSearch:
    found = read_plain(frame(n, dim, k, id), LIMITS)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "dim"), [(1, 2), (1, 1), (3, 1), (3, 8)])
def test_a_plain_search_is_written_as_any_other(n: int, dim: int) -> None:
    vectors = np.random.default_rng(n + dim).standard_normal((n, dim), dtype=np.float32)
    for given in (vectors, np.asfortranarray(vectors)):
        assert encode_plain(5, 9, given, 3) == binary.encode_search(5, 9, vectors, 3)


@pytest.mark.parametrize(("n", "dim", "k"), [(1, 2, 1), (2, 1, 20), (3, 8, 7), (1, 8, 10)])
def test_a_plain_search_is_read_as_any_other(n: int, dim: int, k: int) -> None:
    data = frame(n, dim, k)
    asked = plain(n, dim, k)
    assert (asked.id, asked.handle, asked.n, asked.dim, asked.k) == (5, 9, n, dim, k)
    whole, read = asked.whole(), binary.decode_request(data, LIMITS)
    assert isinstance(read, Search)
    assert whole.vectors is not None
    assert read.vectors is not None
    assert whole.vectors.tolist() == read.vectors.tolist()
    fields = ("id", "collection", "like", "single", "k", "filter", "min_score", "include", "last")
    assert all(getattr(whole, name) == getattr(read, name) for name in (*fields, "binary"))
    assert vectors_of([asked, asked], dim).tolist() == read.vectors.tolist() * 2


def test_whatever_is_changed_in_the_header_is_plain_only_if_it_is_right() -> None:
    numbers = random.Random(1)
    data, kept = frame(2, 4, 3), 0
    for place in range(HEADER_BYTES):
        for value in {0, 1, 2, 3, 7, 255, *numbers.sample(range(256), 20)}:
            other = bytearray(data)
            other[place] = value
            found, read = (
                read_plain(bytes(other), LIMITS),
                binary.decode_request(bytes(other), LIMITS),
            )
            if found is None:
                continue
            kept += 1
            assert isinstance(read, Search)
            assert (found.id, found.handle, found.k) == (read.id, read.collection, read.k)
            assert read.vectors is not None
            assert (found.n, found.dim) == read.vectors.shape
    assert kept > 100  # ids and handles may be anything


@pytest.mark.parametrize("length", range(HEADER_BYTES + 8))
def test_a_frame_that_is_cut_short_is_not_plain(length: int) -> None:
    assert read_plain(frame()[:length], LIMITS) is None
    assert isinstance(binary.decode_request(frame()[:length], LIMITS), Refusal)


def test_what_is_more_than_plain_is_left_to_others() -> None:
    vectors = np.ones((1, 2), np.float32)
    for data in (
        binary.encode_search(5, 9, vectors, 3, last=4),
        binary.encode_search(5, 9, vectors, 3, min_score=0.5),
        frame(1, 3),  # padded
        frame(n=4),
        frame(dim=10),
        frame(k=21),
        frame() + bytes(8),
        binary.encode_move(5, 9, vectors),
        b"",
    ):
        assert read_plain(data, LIMITS) is None


def answered(shapes: list[tuple[int, list[int]]]) -> None:
    """Hold answers to searches, each (k, counts of its vectors), to those of ``binary``."""
    searches = [plain(len(counts), 2, k, id) for id, (k, counts) in enumerate(shapes)]
    counts = np.array([count for _, counts in shapes for count in counts], np.uint32)
    total = int(counts.sum())
    ids = np.arange(total, dtype=np.uint64) + 2**60
    seqs = np.arange(total, dtype=np.uint64) + 1
    scores = np.linspace(1, -1, total).astype(np.float32)
    took_us = [7 * id for id in range(len(shapes))]
    frames = encode_answers(searches, 33, counts, Hits(ids, seqs, scores), took_us)
    query = row = 0
    for search, data, took in zip(searches, frames, took_us, strict=True):
        own = counts[query : query + search.n]
        here = slice(row, row + int(own.sum()))
        query, row = query + search.n, here.stop
        results = Results(33, own, Hits(ids[here], seqs[here], scores[here]), took)
        assert data == binary_replies.encode_results(search.id, results)
    assert row == total


@pytest.mark.parametrize("count", [1, 2, 7, 8, 40])
@pytest.mark.parametrize("counts", [[10], [3], [0], [1, 2], [0, 0, 0], [5, 0, 2]])
def test_answers_of_one_shape_are_those_of_binary(count: int, counts: list[int]) -> None:
    answered([(10, counts)] * count)


def test_answers_of_all_shapes_are_those_of_binary() -> None:
    numbers = random.Random(5)
    for _ in range(40):
        shapes = [
            (20, [numbers.randrange(6) for _ in range(numbers.choice((1, 1, 2, 3)))])
            for _ in range(numbers.randrange(1, 30))
        ]
        answered(shapes)


def answer(k: int, id: int = 5, count: int | None = None, n: int = 1) -> bytes:
    """What one search is answered."""
    ids, seqs = np.arange(k, dtype=np.uint64) + 2**60, np.arange(k, dtype=np.uint64) + 1
    scores = np.linspace(1, -1, k).astype(np.float32)
    counts = np.full(n, k if count is None else count, np.uint32)
    return binary_replies.encode_results(id, Results(2**40, counts, Hits(ids, seqs, scores), 77))


def told(found: object) -> object:
    """What was read, to be compared."""
    assert isinstance(found, tuple)
    id, results = found
    assert isinstance(results, Results)
    hits = results.hits
    arrays = (results.counts, hits.ids, hits.seqs, hits.scores)
    rest = (hits.metadata, hits.vectors, hits.ranks, hits.weights, hits.near)
    written = [(one.dtype.str, one.shape, one.tobytes()) for one in map(np.asarray, arrays)]
    assert not any(np.asarray(one).flags.writeable for one in arrays)
    return id, results.version, results.took_us, results.subs, results.at, written, rest


@pytest.mark.parametrize("k", [1, 2, 3, 10, 101])
def test_a_plain_answer_is_read_as_any_other(k: int) -> None:
    data = answer(k)
    assert told(read_answer(data)) == told(binary_replies.decode_incoming(data))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_whatever_is_changed_in_an_answer_is_read_as_any_other(k: int) -> None:
    data, kept = answer(k), 0
    for place in range(len(data)):
        for value in (0, 1, 2, 4, 8, 128, 255):
            other = bytearray(data)
            other[place] = value
            found = read_answer(bytes(other))
            if found is not None:
                kept += 1
                assert told(found) == told(binary_replies.decode_incoming(bytes(other)))
    assert kept > 7 * 8 * k


@pytest.mark.parametrize("k", [1, 2])
def test_an_answer_of_another_length_is_not_plain(k: int) -> None:
    data = answer(k)
    for other in (*(data[:length] for length in range(len(data))), data + bytes(8)):
        assert read_answer(other) is None
        with pytest.raises(BadFrame):
            binary_replies.decode_incoming(other)


def test_answers_that_are_more_than_plain_are_left_to_others() -> None:
    hits = Hits(np.ones(1, np.uint64), np.ones(1, np.uint64), np.ones(1, np.float32))
    texts = Hits(["a"], np.ones(1, np.uint64), np.ones(1, np.float32))
    one = np.ones(1, np.uint32)
    for data in (
        answer(0),
        answer(4, count=2, n=2),
        binary_replies.encode_results(5, Results(3, one, texts, 0)),
        binary_replies.encode_results(5, Results(3, one, hits, 0, at=4.0)),
        b"",
        b"{}",
    ):
        assert read_answer(data) is None
