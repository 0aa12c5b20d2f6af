"""The prototype's bodies as requests of the protocol, and what is wrong with them; no sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omendb_core.model.errors import OmenError

from omendb_ws.http.api import prototype

ROW = {"id": "a", "vector": [1.0, 0.5], "metadata": {"title": "A"}}


def test_one_vector_is_one_row() -> None:
    assert prototype.row_of(ROW) == [ROW]


def test_a_batch_is_its_vectors() -> None:
    assert prototype.rows_of({"vectors": [ROW, {"id": "b", "vector": [0, 1]}]}) == [
        ROW, {"id": "b", "vector": [0, 1]},
    ]  # fmt: skip


def test_metadata_is_included_when_it_is_asked_for() -> None:
    assert prototype.search_of({"vector": [1], "k": 3}) == {"vector": [1], "k": 3}
    assert prototype.search_of({"vector": [1], "include_metadata": False}) == {"vector": [1]}
    assert prototype.search_of({"vector": [1], "include_metadata": True}) == {
        "vector": [1], "include": ["metadata"],
    }  # fmt: skip


def test_the_collection_has_the_dimension_of_the_first_vector() -> None:
    assert prototype.definition([ROW], 500) == {
        "collection": "default", "dim": 2, "capacity": 500, "ids": "str", "if_exists": "ok",
    }  # fmt: skip


def test_before_the_first_add_there_are_no_rows() -> None:
    assert prototype.statistics(None)["rows"] == 0
    assert prototype.statistics({"rows": 3}) == {"rows": 3}


@pytest.mark.parametrize(
    ("read", "body", "field"),
    [
        (prototype.row_of, [], "the body"),
        (prototype.row_of, None, "the body"),
        (prototype.row_of, {**ROW, "score": 1}, "score"),
        (prototype.rows_of, ROW, "id"),
        (prototype.rows_of, {}, "vectors"),
        (prototype.rows_of, {"vectors": {}}, "vectors"),
        (prototype.rows_of, {"vectors": []}, "vectors"),
        (prototype.rows_of, {"vectors": [ROW], "k": 1}, "k"),
        (prototype.search_of, {}, "vector"),
        (prototype.search_of, {"vector": [1], "filter": {}}, "filter"),
        (prototype.search_of, {"vector": [1], "include_metadata": 1}, "include_metadata"),
        (lambda rows: prototype.definition(rows, 5), [3], "vectors"),
        (lambda rows: prototype.definition(rows, 5), [{"id": "a"}], "vector"),
        (lambda rows: prototype.definition(rows, 5), [{"vector": "1,2"}], "vector"),
        (lambda rows: prototype.definition(rows, 5), [{"vector": []}], "vector"),
    ],
)
def test_what_is_wrong_is_named(read: Callable[[Any], Any], body: Any, field: str) -> None:
    with pytest.raises(OmenError) as refused:
        read(body)
    assert refused.value.message.startswith(field)
