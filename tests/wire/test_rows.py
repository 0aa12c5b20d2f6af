"""JSON rows and ids against a definition; payloads of binary adds (PROTOCOL section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import NULL_CODE, Definition, StrColumn

from omendb_ws.wire.limits import Limits
from omendb_ws.wire.rows import complete_payloads, parse_ids, parse_rows, parse_updates

LIMITS = Limits(max_metadata_bytes=40)
U64 = Definition(dim=2, capacity=100)
STR = Definition(dim=2, capacity=100, ids="str")
AUTO = Definition(dim=2, capacity=100, ids="auto")


def row(id: Any = 1, vector: Any = (1.0, 2.0), **others: Any) -> dict[str, Any]:
    return {"id": id, "vector": list(vector) if isinstance(vector, tuple) else vector, **others}


def refused(call: Callable[[], Any], code: str, names: str, at: int | None) -> None:
    with pytest.raises(OmenError) as caught:
        call()
    assert (caught.value.code, caught.value.row) == (code, at), caught.value.message
    assert names in caught.value.message
    assert len(caught.value.message) < 200


# -- rows of an add -------------------------------------------------------------------------------


def test_rows_become_arrays_and_payloads() -> None:
    rows = [
        row(3, metadata={"a": 1, "b": "é"}),
        row("18446744073709551615", (3, -4.5)),
        row(0, (0.1, 1e-50), metadata={}),
    ]
    batch = parse_rows(rows, U64, LIMITS)
    assert batch.vectors.dtype == np.float32
    assert batch.vectors.tolist() == [[1, 2], [3, -4.5], [np.float32(0.1), 0]]
    assert isinstance(batch.ids, np.ndarray)
    assert batch.ids.dtype == np.uint64
    assert batch.ids.tolist() == [3, 2**64 - 1, 0]
    assert batch.metadata == [{"a": 1, "b": "é"}, {}, {}]
    assert batch.payloads == ['{"a":1,"b":"é"}'.encode(), None, None]
    assert batch.columns == {}


def test_rows_without_metadata_have_no_payloads() -> None:
    batch = parse_rows([row(1), row(2, metadata={})], U64, LIMITS)
    assert (batch.metadata, batch.payloads) == (None, None)


def test_auto_rows_have_no_id() -> None:
    assert parse_rows([{"vector": [1, 2]}], AUTO, LIMITS).ids is None
    rows = [{"vector": [1, 2]}, row(5)]
    refused(lambda: parse_rows(rows, AUTO, LIMITS), "bad_id", "id", 1)


@pytest.mark.parametrize("definition", [U64, STR])
def test_other_rows_need_one(definition: Definition) -> None:
    id_ = 1 if definition is U64 else "a"
    rows = [row(id_), {"vector": [1, 2]}]
    refused(lambda: parse_rows(rows, definition, LIMITS), "bad_id", "id: missing", 1)


@pytest.mark.parametrize("bad", [None, 3, "x", [], True, [1.0, 2.0]])
def test_a_row_is_an_object(bad: Any) -> None:
    refused(lambda: parse_rows([row(), bad], U64, LIMITS), "bad_request", "rows", 1)
    refused(lambda: parse_updates([{"id": 1, "metadata": {}}, bad], U64, LIMITS), "bad_request",
            "rows", 1)  # fmt: skip


def test_an_unknown_field_of_a_row_is_refused_by_name() -> None:
    refused(lambda: parse_rows([row(), row(2, vecto=[1])], U64, LIMITS), "bad_request", "vecto", 1)
    update = [{"id": 1, "metadata": {}, "vector": [1, 2]}]
    refused(lambda: parse_updates(update, U64, LIMITS), "bad_request", "vector", 0)


def test_a_row_without_a_vector_is_refused() -> None:
    refused(lambda: parse_rows([row(), {"id": 2}], U64, LIMITS), "bad_request", "vector: missing",
            1)  # fmt: skip


@pytest.mark.parametrize(
    "vector",
    [None, "12", 3, {"a": 1}, [True, 1.0], [1.0, False], ["1", "2"], [None, 1], [[1], [2]],
     [[1.0, 2.0]], [1, {}]],
)  # fmt: skip
def test_a_vector_is_a_list_of_numbers(vector: Any) -> None:
    rows = [row(1), row(2, vector), row(3, "x")]
    refused(lambda: parse_rows(rows, U64, LIMITS), "bad_vector", "vector", 1)


@pytest.mark.parametrize("vector", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_vector_has_the_collections_dimension(vector: Any) -> None:
    refused(lambda: parse_rows([row(1), row(2, vector)], U64, LIMITS), "dim_mismatch", "vector", 1)
    rows = [row(2, vector), row(3, vector)]
    refused(lambda: parse_rows(rows, U64, LIMITS), "dim_mismatch", "vector", 0)


def test_numbers_beyond_a_float32_become_what_the_engine_refuses() -> None:
    batch = parse_rows([row(1, (1e39, -(2.0**200))), row(2, (2**64 - 1, -(2**63)))], U64, LIMITS)
    assert batch.vectors.tolist() == [[np.inf, -np.inf], [2.0**64, -(2.0**63)]]


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u64", "auto"])
def test_integer_ids_are_numbers_or_decimal_strings(kind: Any) -> None:
    ids = [0, 2**53 - 1, "0", "9007199254740992", "18446744073709551615"]
    assert parse_ids(ids, kind).tolist() == [0, 2**53 - 1, 0, 2**53, 2**64 - 1]  # type: ignore[union-attr]
    assert parse_ids([], kind).dtype == np.uint64  # type: ignore[union-attr]
    assert parse_ids([7, 2**53 - 1], kind).tolist() == [7, 2**53 - 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad",
    [-1, 2**53, 2**64 - 1, 1.0, True, None, "", "-1", "+1", "01", "00", "1.0", "1e3", " 1", "1 ",
     "1\n", "1_0", "0x1", "\u0661", "18446744073709551616", "1" * 10_000, "a", [1], {"id": 1}],
)  # fmt: skip
def test_anything_else_is_a_bad_id_with_its_row(bad: Any) -> None:
    for kind in ("u64", "auto"):
        refused(lambda kind=kind: parse_ids([1, 2, bad, None], kind), "bad_id", "ids", 2)  # type: ignore[misc]
    refused(lambda: parse_rows([row(1), row(bad)], U64, LIMITS), "bad_id", "id", 1)


@pytest.mark.parametrize("bad", ["", "a\0", "\0", "a" * 257, "é" * 129, 5, None, True, ["a"]])
def test_bad_string_ids_are_refused_with_their_row(bad: Any) -> None:
    refused(lambda: parse_ids(["a", bad], "str"), "bad_id", "ids", 1)
    refused(lambda: parse_ids(["é", bad], "str"), "bad_id", "ids", 1)
    refused(lambda: parse_rows([row("a"), row(bad)], STR, LIMITS), "bad_id", "id", 1)


def test_string_ids_stay_as_they_are() -> None:
    ids = ["a", "é" * 128, "x" * 256, "17", "\x01"]
    assert parse_ids(ids, "str") == ids
    assert parse_ids([], "str") == []


# -- metadata -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, 3, "x", [], [{}], True])
def test_metadata_is_an_object(bad: Any) -> None:
    refused(lambda: parse_rows([row(1), row(2, metadata=bad)], U64, LIMITS), "bad_metadata",
            "metadata", 1)  # fmt: skip
    updates = [{"id": 1, "metadata": {}}, {"id": 2, "metadata": bad}]
    refused(lambda: parse_updates(updates, U64, LIMITS), "bad_metadata", "metadata", 1)


def test_metadata_is_measured_as_compact_json() -> None:
    fits = {"note": "x" * (40 - len('{"note":""}'))}
    assert len(orjson.dumps(fits)) == 40
    assert parse_rows([row(metadata=fits)], U64, LIMITS).payloads == [orjson.dumps(fits)]
    over = {"note": fits["note"] + "x"}
    refused(lambda: parse_rows([row(1), row(2, metadata=over)], U64, LIMITS), "too_large",
            "max_metadata_bytes", 1)  # fmt: skip
    wide = {"note": "é" * 16}
    assert len(orjson.dumps(wide)) == 43
    refused(lambda: parse_rows([row(metadata=wide)], U64, LIMITS), "too_large", "metadata", 0)


def test_metadata_too_deep_to_be_written_is_refused() -> None:
    deep = orjson.loads('{"a":' * 300 + "1" + "}" * 300)
    refused(lambda: parse_rows([row(metadata=deep)], U64, Limits()), "bad_metadata", "deep", 0)


def test_updates_have_ids_and_metadata() -> None:
    update = parse_updates([{"id": 1, "metadata": {"a": 1}}, {"id": "2", "metadata": {}}], U64,
                           LIMITS)  # fmt: skip
    assert update.ids.tolist() == [1, 2]  # type: ignore[union-attr]
    assert update.metadata == [{"a": 1}, {}]
    assert update.payloads == [b'{"a":1}', None]
    bare = parse_updates([{"id": "a", "metadata": {}}], STR, LIMITS)
    assert (bare.ids, bare.metadata, bare.payloads) == (["a"], [{}], [None])
    assert parse_updates([{"id": 3, "metadata": {}}], AUTO, LIMITS).ids.tolist() == [3]  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["id", "metadata"])
def test_an_update_lacks_nothing(field: str) -> None:
    rows = [{"id": 1, "metadata": {}}, {"id": 2, "metadata": {}}]
    del rows[1][field]
    refused(lambda: parse_updates(rows, U64, LIMITS), "bad_request", f"{field}: missing", 1)


# -- binary adds ----------------------------------------------------------------------------------


def batch(metadata: Any = None, **columns: Any) -> RowBatch:
    first = metadata or next(iter(columns.values()))
    count = len(first.codes if isinstance(first, StrColumn) else first)
    return RowBatch(np.ones((count, 2), np.float32), None, columns, metadata)


def test_a_row_of_columns_alone_has_no_payload() -> None:
    rows = complete_payloads(batch(price=np.array([1.5, np.nan])), LIMITS)
    assert (rows.metadata, rows.payloads) == (None, None)
    rows = complete_payloads(batch([None, {}], price=np.array([1.5, np.nan])), LIMITS)
    assert (rows.metadata, rows.payloads) == (None, None)


def test_a_payload_holds_columns_and_metadata_but_no_nulls_of_columns() -> None:
    rows = batch(
        [{"note": "x"}, None, {"note": None}],
        f=np.array([1.5, 2.0, np.nan]),
        i=np.array([-3, 4, 5]),
        b=np.array([1, 0, 0], np.uint8),
        s=StrColumn(np.array([1, 0, NULL_CODE], np.uint32), ("a", "é")),
    )
    done = complete_payloads(rows, Limits())
    assert done.payloads == [
        '{"f":1.5,"i":-3,"b":true,"s":"é","note":"x"}'.encode(),
        None,
        b'{"i":5,"b":false,"note":null}',
    ]
    assert done.metadata == rows.metadata
    assert done.columns is rows.columns


def test_columns_alone_are_measured_as_compact_json() -> None:
    name = "c" * 20
    texts = StrColumn(np.array([0, 1, NULL_CODE], np.uint32), ("x" * 13, "y" * 14))
    assert len(orjson.dumps({name: "y" * 14})) == 41
    complete_payloads(batch(**{name: texts}), Limits(max_metadata_bytes=41))
    refused(lambda: complete_payloads(batch(**{name: texts}), Limits(max_metadata_bytes=40)),
            "too_large", "max_metadata_bytes", 1)  # fmt: skip


def test_columns_and_metadata_are_measured_together() -> None:
    rows = batch([None, {"note": "x" * 20}], price=np.array([1.5, 1.5]))
    size = len('{"price":1.5,"note":""}') + 20
    assert complete_payloads(rows, Limits(max_metadata_bytes=size)).payloads is not None
    refused(lambda: complete_payloads(rows, Limits(max_metadata_bytes=size - 1)), "too_large",
            "metadata", 1)  # fmt: skip


def test_a_code_outside_the_dictionary_is_refused_with_its_row() -> None:
    rows = batch([{"a": 1}, {"a": 2}], s=StrColumn(np.array([0, 1], np.uint32), ("x",)))
    refused(lambda: complete_payloads(rows, LIMITS), "bad_metadata", "s", 1)


def test_metadata_of_a_frame_too_deep_to_be_written_is_refused() -> None:
    deep = orjson.loads('{"a":' * 300 + "1" + "}" * 300)
    refused(lambda: complete_payloads(batch([None, deep]), Limits()), "bad_metadata", "deep", 1)
