"""The prototype's bodies as requests of the protocol, and what is wrong with them; no sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from omendb_core.model.errors import OmenError

from omendb_ws.http.api import prototype
from omendb_ws.wire.limits import Limits

ROW = '{"id":"a","vector":[1.0,0.5],"metadata":{"title":"A","n":18446744073709551615}}'
SHORT = '{"id":"a","vector":[1]}'


def test_one_vector_is_one_row_as_it_was_written() -> None:
    assert prototype.add_of_row(ROW) == f'{{"rows":[{ROW}]}}'


@pytest.mark.parametrize("head", ['{"vectors":', ' {\n "vectors" : '])
def test_a_batch_is_its_vectors_as_they_were_written(head: str) -> None:
    assert (
        prototype.add_of_batch(f"{head}[{ROW}]}}").removeprefix('{"rows":').strip() == f"[{ROW}]}}"
    )


def test_rows_may_be_said_in_metadata() -> None:
    text = '{"vectors":[{"id":"a","vector":[1],"metadata":{"rows":2}}]}'
    assert orjson.loads(prototype.add_of_batch(text)) == {"rows": orjson.loads(text)["vectors"]}


def test_metadata_is_included_when_it_is_asked_for() -> None:
    def search(text: str) -> Any:
        return orjson.loads(prototype.search_of(text))

    assert search('{"vector":[1],"k":3}') == {"vector": [1], "k": 3}
    assert search('{"vector":[1],"include_metadata":false}') == {"vector": [1]}
    assert search('{"vector":[1],"include_metadata":true}') == {
        "vector": [1], "include": ["metadata"],
    }  # fmt: skip


def test_the_collection_has_the_dimension_of_the_first_vector() -> None:
    made = prototype.create_for(prototype.add_of_row(ROW), 500, Limits())
    assert orjson.loads(made) == {
        "collection": "default", "dim": 2, "capacity": 500, "metric": "cosine", "ids": "str",
        "if_exists": "ok",
    }  # fmt: skip


def first(text: str) -> str:
    return prototype.create_for(text, 5, Limits())


@pytest.mark.parametrize(
    ("read", "text", "field"),
    [
        (prototype.add_of_row, "[]", "the body"),
        (prototype.add_of_row, "null", "the body"),
        (prototype.add_of_row, '{"id":"a"},{"id":"b"}', "not JSON"),
        (prototype.add_of_row, '{"id":"a"}],"batch":[1', "not JSON"),
        (prototype.add_of_row, '{"vector":[1e999]}', "a number"),
        (prototype.add_of_batch, ROW, "id"),
        (prototype.add_of_batch, "{}", "vectors"),
        (prototype.add_of_batch, "[]", "the body"),
        (prototype.add_of_batch, '{"vectors":[],"rows":[]}', "rows"),
        (prototype.add_of_batch, '{"x":1,"vectors":[]}', "x"),
        (prototype.add_of_batch, '{"\\u0076ectors":[]}', "the body"),
        (prototype.search_of, "{}", "vector"),
        (prototype.search_of, '{"vector":[1],"filter":{}}', "filter"),
        (prototype.search_of, '{"vector":[1],"include_metadata":1}', "include_metadata"),
        (first, '{"rows":[3]}', "rows"),
        (first, '{"rows":[]}', "rows"),
        (first, '{"rows":{}}', "rows"),
        (first, '{"rows":[{"id":"a"}]}', "vector"),
        (first, '{"rows":[{"id":"a","vector":"1,2"}]}', "vector"),
        (first, '{"rows":[{"id":"a","vector":[]}]}', "vector"),
        (first, '{"rows":[{"vector":[1]}]}', "id"),
        (first, '{"rows":[{"id":"a","vector":[0]}]}', "the vector"),
        (first, '{"rows":[{"id":"a","vector":[1]},{"id":"a","vector":[1]}]}', "ids"),
        (first, '{"rows":[{"id":"a","vector":[1],"metadata":[]}]}', "metadata"),
        (
            first,
            '{"rows":[{"id":"a","vector":[1],"metadata":{"n":18446744073709551616}}]}',
            "metadata",
        ),
        (first, f'{{"rows":[{",".join([SHORT] * 6)}]}}', "6 rows"),
    ],
)
def test_what_is_wrong_is_named(read: Callable[[str], str], text: str, field: str) -> None:
    with pytest.raises(OmenError) as refused:
        read(text)
    assert refused.value.message.startswith(field)
