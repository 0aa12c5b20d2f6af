"""Any message there can be: encoded and decoded it is itself; any bytes: a request or a refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omendb_core.model.change import RowBatch
from omendb_core.model.types import NULL_CODE, Hits, Include, StrColumn

from omendb_ws.wire import binary, binary_replies, text, text_replies
from omendb_ws.wire import messages as m
from omendb_ws.wire.hits import dumps, metadata_texts
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.opcodes import KINDS, OPS
from tests.examples import examples

from .by_hand import frame
from .plain import same

LIMITS = Limits()
bounded = settings(
    deadline=None,
    derandomize=True,
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.too_slow],
)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SEQ = st.integers(0, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)
SCALAR = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALAR | FINITE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
INCLUDE = st.builds(Include, st.booleans(), st.booleans())
STR_ID = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=9
)


def array(draw: st.DrawFn, dtype: str, *shape: int) -> Any:
    """Any bits, NaNs and infinities included."""
    dtype_ = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype_.itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype_).reshape(shape)


def finite(draw: st.DrawFn, *shape: int) -> Any:
    values = draw(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            min_size=int(np.prod(shape)),
            max_size=int(np.prod(shape)),
        )
    )
    return np.array(values, np.float32).reshape(shape)


ID = st.integers(0, 2**53 - 1) | STR_ID
SHAPE = st.dictionaries(TEXT, JSON, max_size=3)
RANK = JSON.filter(lambda one: one is not None)


@st.composite
def examples(draw: st.DrawFn, least: int) -> list[Any]:
    """Ids and vectors."""
    kinds = draw(st.lists(st.booleans(), min_size=least, max_size=4))
    return [draw(ID) if is_id else finite(draw, 3) for is_id in kinds]


@st.composite
def shapings(draw: st.DrawFn, *, by_examples: bool) -> dict[str, Any]:
    """What may shape an answer, as the wire has it; none of it is looked at there."""
    optional = {
        "exclude": st.lists(ID, max_size=4), "decay": SHAPE, "rank": RANK,
        "group": SHAPE, "spread": SHAPE, "mmr": SHAPE, "at": FINITE,
    }  # fmt: skip
    if by_examples:
        optional["negative"] = examples(0)
    made = draw(st.fixed_dictionaries({}, optional=optional))
    if "decay" not in made and "rank" not in made:
        made.pop("at", None)
    return {"positive": draw(examples(1)), **made} if by_examples else made


@st.composite
def row_batches(draw: st.DrawFn) -> RowBatch:
    n, dim = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    ids: Any = draw(st.sampled_from(["none", "u64", "str"]))
    if ids == "none":
        ids = None
    elif ids == "u64":
        ids = array(draw, "<u8", n)
    else:
        ids = draw(st.lists(STR_ID, min_size=n, max_size=n))
    columns: dict[str, Any] = {}
    for name in draw(st.lists(NAME, max_size=4, unique=True)):
        dtype = draw(st.sampled_from(["<f8", "<i8", "|u1", "str"]))
        if dtype == "str":
            texts = tuple(draw(st.lists(TEXT, max_size=3, unique=True)))
            codes = [*range(len(texts)), NULL_CODE]
            chosen = draw(st.lists(st.sampled_from(codes), min_size=n, max_size=n))
            columns[name] = StrColumn(np.array(chosen, np.uint32), texts)
        else:
            columns[name] = array(draw, dtype, n)
    metadata = draw(
        st.none()
        | st.lists(
            st.none() | OBJECT.map(lambda one: {k: one[k] for k in one if k not in columns}),
            min_size=n,
            max_size=n,
        )
    )
    return RowBatch(array(draw, "<f4", n, dim), ids, columns, metadata)


@st.composite
def hits(draw: st.DrawFn, count: int, *, scored: bool) -> Hits:
    dim = draw(st.integers(1, 4))
    ids: Any
    if draw(st.booleans()):
        ids = array(draw, "<u8", count)
    else:
        ids = draw(st.lists(STR_ID, min_size=count, max_size=count))
    return Hits(
        ids,
        array(draw, "<u8", count),
        finite(draw, count) if scored else None,
        draw(st.none() | st.lists(OBJECT, min_size=count, max_size=count)),
        finite(draw, count, dim) if draw(st.booleans()) else None,
    )


@st.composite
def ranked(draw: st.DrawFn, found: Hits) -> Hits:
    """The same with ranks, perhaps with weights; some of them null."""
    count = len(found.seqs)
    keys = st.lists(FINITE | st.just(np.nan), min_size=count, max_size=count)
    ranks = np.array(draw(keys), np.float64)
    weights = None
    if draw(st.booleans()):
        weights = finite(draw, count)
        weights[draw(st.lists(st.booleans(), min_size=count, max_size=count))] = np.nan
    return replace(found, ranks=ranks, weights=weights)


@st.composite
def results(draw: st.DrawFn) -> m.Results:
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    found = draw(hits(sum(counts), scored=True))
    is_ranked = draw(st.booleans())
    return m.Results(
        draw(SEQ),
        np.array(counts, np.uint32),
        draw(ranked(found)) if is_ranked else found,
        draw(U32),
        draw(st.none() | st.lists(U32, max_size=3)),
        draw(FINITE) if is_ranked else None,
    )


@bounded
@given(row_batches(), U32, U32, st.none() | st.tuples(STR_ID, st.integers(1, 2**53 - 1)))
def test_adds(rows: RowBatch, request_id: int, handle: int, batch: Any) -> None:
    producer, number = batch or (None, None)
    data = binary.encode_add(request_id, handle, rows, producer, number)
    decoded = binary.decode_request(data, LIMITS)
    assert same(decoded, m.Add(request_id, handle, rows, producer, number, binary=True))


@bounded
@given(st.data(), U32, U32, st.integers(1, 1000), st.none() | OBJECT, st.none() | FINITE, INCLUDE)
def test_binary_searches(
    data: st.DataObject, request_id: int, handle: int, k: int, filter_: Any, min_score: Any,
    include: Include,
) -> None:  # fmt: skip
    vectors = data.draw(st.composite(lambda draw: array(draw, "<f4", 3, 2))())
    last = data.draw(st.none() | st.integers(1, 2**53 - 1))
    by_examples = data.draw(st.booleans())
    given = None if by_examples else vectors
    shaping = data.draw(shapings(by_examples=by_examples))
    message = binary.encode_search(
        request_id, handle, given, k, filter_, min_score, include, last, shaping
    )
    assert same(
        binary.decode_request(message, LIMITS),
        m.Search(request_id, handle, given, None, False, k, filter_, min_score, include, last,
                 binary=True, **shaping),
    )  # fmt: skip


@bounded
@given(st.data(), U32, st.integers(1, 1000), st.none() | OBJECT, st.none() | FINITE, INCLUDE)
def test_text_searches(
    data: st.DataObject, request_id: int, k: int, filter_: Any, min_score: Any, include: Include
) -> None:
    single = data.draw(st.booleans())
    vectors = data.draw(st.composite(lambda draw: finite(draw, 1 if single else 3, 4))())
    by_examples = single and data.draw(st.booleans())
    given = None if by_examples else vectors
    shaping = data.draw(shapings(by_examples=by_examples))
    asked = m.Search(
        request_id, data.draw(NAME), given, None, single, k, filter_, min_score, include, **shaping
    )
    assert same(text.decode_request(text.encode_request(asked), LIMITS), asked)


@bounded
@given(results(), U32)
def test_binary_results(answer: m.Results, request_id: int) -> None:
    decoded = binary_replies.decode_incoming(binary_replies.encode_results(request_id, answer))
    assert same(decoded, (request_id, answer))


@bounded
@given(results(), U32, st.integers(1, 3))
def test_binary_results_in_parts_are_the_same_bytes(
    answer: m.Results, request_id: int, at_once: int
) -> None:
    if answer.hits.metadata is None:
        return
    texts = metadata_texts(answer.hits.metadata)
    joined = [b",".join(texts[start : start + at_once]) for start in range(0, len(texts), at_once)]
    between = [part for one in joined for part in (b",", one)][1:]
    parts = binary_replies.encode_results_in_parts(request_id, answer, between)
    assert b"".join(parts) == binary_replies.encode_results(request_id, answer)
    assert all(isinstance(part, bytes) or part.format == "B" for part in parts)


@bounded
@given(results(), U32)
def test_text_results_say_what_binary_ones_say(answer: m.Results, request_id: int) -> None:
    reply = text_replies.decode_incoming(
        text_replies.encode_results(request_id, answer, single=False)
    )
    assert isinstance(reply, m.Reply)
    assert (reply.id, reply.ok["version"]) == (request_id, answer.version)
    assert [len(one) for one in reply.ok["results"]] == answer.counts.tolist()
    rows = [row for one in reply.ok["results"] for row in one]
    found = answer.hits
    ids = [row["id"] if isinstance(found.ids, list) else int(row["id"]) for row in rows]
    assert ids == list(found.ids)
    assert [row["seq"] for row in rows] == found.seqs.tolist()
    assert reply.ok.get("at") == answer.at
    for name, keys in (("rank", found.ranks), ("weight", found.weights)):
        if keys is None:
            assert not any(name in row for row in rows)
            continue
        said = [np.nan if row[name] is None else row[name] for row in rows]
        assert np.array(said, np.float64).astype(keys.dtype).tobytes() == keys.tobytes()
    assert found.scores is not None
    scores = np.array([row["score"] for row in rows], np.float64).astype(np.float32)
    assert scores.tobytes() == found.scores.tobytes()
    if found.metadata is not None:
        assert same([row["metadata"] for row in rows], list(found.metadata))
    if found.vectors is not None:
        parsed = np.array([row["vector"] for row in rows], np.float64).astype(np.float32)
        assert parsed.tobytes() == found.vectors.tobytes()


@bounded
@given(st.data(), U32, SEQ, SEQ, st.sampled_from(["feed", "match"]), st.integers(0, 4))
def test_pushes_of_rows(
    data: st.DataObject, sub: int, version: int, to_seq: int, kind: Any, count: int
) -> None:
    found = data.draw(hits(count, scored=kind == "match"))
    rows = m.Rows(sub, kind, version, to_seq, found)
    assert same(binary_replies.decode_incoming(binary_replies.encode_rows(rows)), rows)
    event = text_replies.decode_incoming(text_replies.encode_rows(rows))
    assert isinstance(event, m.Event)
    assert (event.event, event.body["to_seq"]) == (kind, to_seq)
    assert [row["seq"] for row in event.body["rows"]] == found.seqs.tolist()


@bounded
@given(
    st.sampled_from([1, 3, 7, 8]), st.binary(max_size=80), OBJECT, st.integers(0, 3),
    st.integers(0, 4), st.integers(0, 4), st.integers(0, 12), st.integers(0, 2),
)  # fmt: skip
def test_any_frame_is_a_request_or_a_refusal(
    kind: int, body: bytes, json: Any, flags: int, n: int, dim: int, k: int, handle: int
) -> None:
    section = dumps(json) if json else b""
    data = frame(kind, body, flags=flags, id=9, n=n, dim=dim, k=k, handle=handle, json=section)
    decoded = binary.decode_request(data, LIMITS, {1: {"a": "f64", "b": "str"}}.get)  # type: ignore[arg-type]
    assert decoded.id == 9


@bounded
@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    assert isinstance(binary.decode_request(data, LIMITS), m.Refusal)
    assert isinstance(binary.decode_request(b"\xdb\x01" + data, LIMITS), m.Refusal | m.Add | m.Move)
    text.decode_request(data, LIMITS)


ADD_JSON = st.fixed_dictionaries(
    {},
    optional={
        "columns": JSON | st.dictionaries(NAME, st.sampled_from(["f64", "str", "bool", "x"])),
        "dictionaries": JSON | st.dictionaries(NAME, JSON, max_size=2),
        "metadata": JSON | st.lists(OBJECT | st.none(), max_size=3),
        "ids": JSON | st.lists(TEXT, max_size=3),
        "producer": JSON,
        "batch": JSON,
    },
)


@bounded
@given(ADD_JSON, st.integers(0, 3), st.integers(1, 3), st.integers(0, 200))
def test_any_json_of_an_add_is_taken_or_refused(json: Any, flags: int, n: int, size: int) -> None:
    data = frame(1, bytes(size), flags=flags, id=9, n=n, dim=2, handle=1, json=dumps(json))
    assert binary.decode_request(data, LIMITS, {1: {"a": "f64"}}.get).id == 9  # type: ignore[arg-type]


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """A known op with any of the known fields, of any value."""
    names = sorted({one.name for op in OPS.values() for one in op.fields})
    return st.builds(
        lambda op, fields: {"id": 9, "op": op, **fields},
        st.sampled_from(sorted(OPS)),
        st.dictionaries(st.sampled_from(names), JSON | st.just("a") | st.just([1.0]), max_size=4),
    )


@bounded
@given(requests())
def test_any_request_is_taken_or_refused_with_its_id(body: dict[str, Any]) -> None:
    decoded = text.decode_request(dumps(body), LIMITS)
    assert decoded.id == 9
    assert isinstance(decoded, m.Refusal) or decoded.op == body["op"]


def test_the_strategies_know_every_kind_that_clients_send() -> None:
    assert [kind.number for kind in KINDS.values() if kind.direction == "request"] == [
        1, 3, 7, 8, 10,
    ]  # fmt: skip
