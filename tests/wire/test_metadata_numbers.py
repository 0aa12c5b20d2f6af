"""What metadata may hold: refused with its row and path, or given back as it was written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadMetadata, NonFinite
from omendb_core.model.types import Definition

from omendb_ws.wire import binary, messages, numbers, rows, text
from omendb_ws.wire.frames import Header, pack
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.opcodes import MAGIC, PROTOCOL_BYTE

DEFINITION = Definition(dim=1, capacity=10, columns={"f": "f64"})

REFUSED = [
    ('{"x":1e400}', "metadata.x"), ('{"x":-1e400}', "metadata.x"), ('{"f":1e999}', "metadata.f"),
    ('{"x":99999999999999999999}', "metadata.x"), ('{"x":18446744073709551616}', "metadata.x"),
    ('{"x":-9223372036854775809}', "metadata.x"), ('{"f":99999999999999999999}', "metadata.f"),
    ('{"a":"x","x":[1,{"y":-99999999999999999999}]}', "metadata.x[1].y"),
    ('{"x":' + "9" * 3000 + "}", "metadata.x"), ('{"x":-' + "9" * 400 + "}", "metadata.x"),
    ('{"ü":[[1e309]]}', "metadata.ü[0][0]"),
]  # fmt: skip
KEPT = [
    '{"x":18446744073709551615}', '{"x":-9223372036854775808}', '{"x":9223372036854775808}',
    '{"x":1e300}', '{"x":-1e20}', '{"x":1e+20}', '{"x":100000000000000000000.0}', '{"x":1.5e19}',
    '{"x":"99999999999999999999"}', '{"x":"1e400"}', '{"99999999999999999999":1e20}',
    '{"x":0.1234567890123456789012345678}', '{"x":1e-400}', '{"x":5e-324}', '{"x":-0.0}',
    '{"x":"\\"99999999999999999999,\\\\","y":1e20}', '{"x":[9007199254740993,null,true]}',
]  # fmt: skip


def nested(levels: int) -> str:
    """Metadata of so many levels."""
    return '{"x":' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}"


def add(metadata: str, op: str = "add") -> str:
    vector = ',"vector":[1]' if op == "add" else ""
    bare = ',"metadata":{"a":1}' if op == "update" else ""
    return (
        f'{{"op":"{op}","id":7,"collection":"a","rows":'
        f'[{{"id":1{vector}{bare}}},{{"id":2{vector},"metadata":{metadata}}}]}}'
    )


def taken(metadata: str, op: str) -> Any:
    """What the server makes of the second row's metadata. Raises OmenError."""
    request: Any
    if op == "binary":
        section = f'{{"metadata":[null,{metadata}]}}'.encode()
        header = Header(MAGIC, PROTOCOL_BYTE, 1, 1, 7, 3, 2, 1, 0, len(section), 0)
        arrays = [np.array([1, 2], "<u8"), np.ones((2, 1), "<f4")]
        request = binary.decode_request(pack(header, section, arrays), Limits())
    else:
        request = text.decode_request(add(metadata, op).encode(), Limits())
    assert request.id == 7
    if isinstance(request, messages.Refusal):
        raise request.error
    if op == "update":
        return rows.parse_updates(request.rows, DEFINITION, Limits()).payloads[1]
    if op == "add":
        batch = rows.parse_rows(request.rows, DEFINITION, Limits())
    elif isinstance(request.rows, RowBatch):
        batch = rows.complete_payloads(request.rows, Limits())
    else:
        raise request.rows
    assert batch.payloads is not None
    return batch.payloads[1]


@pytest.mark.parametrize("op", ["add", "update", "binary"])
@pytest.mark.parametrize(("metadata", "path"), REFUSED)
def test_a_number_that_would_change_is_refused_with_row_and_path(
    op: str, metadata: str, path: str
) -> None:
    with pytest.raises(BadMetadata) as caught:
        taken(metadata, op)
    assert caught.value.row == 1
    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("op", ["add", "update", "binary"])
@pytest.mark.parametrize("metadata", KEPT)
def test_what_is_taken_is_kept_as_it_was(op: str, metadata: str) -> None:
    payload = taken(metadata, op)
    assert orjson.loads(payload) == json.loads(metadata)
    assert taken(bytes(payload).decode(), op) == payload


@pytest.mark.parametrize("op", ["add", "update", "binary"])
@pytest.mark.parametrize("levels", [2, 31, 32])
def test_metadata_may_have_thirty_two_levels(op: str, levels: int) -> None:
    assert orjson.loads(taken(nested(levels), op)) == json.loads(nested(levels))


@pytest.mark.parametrize("op", ["add", "update", "binary"])
@pytest.mark.parametrize("levels", [33, 34, 200, 253, 254, 300, 900])
def test_deeper_metadata_is_refused_with_its_row(op: str, levels: int) -> None:
    for metadata in (nested(levels), nested(levels).replace("[", '{"y":').replace("]", "}")):
        with pytest.raises(BadMetadata, match="nested too deep") as caught:
            taken(metadata, op)
        assert caught.value.row == 1


def test_width_is_not_depth() -> None:
    wide = '{"x":[' + ",".join(["[]"] * 500) + "]}"
    assert taken(wide, "add") == wide.encode()


def test_a_number_beyond_every_double_elsewhere_keeps_its_own_error() -> None:
    refusal = text.decode_request(
        b'{"op":"add","id":7,"collection":"a","rows":[{"id":1,"vector":[1e400]}]}', Limits()
    )
    assert isinstance(refusal, messages.Refusal)
    assert isinstance(refusal.error, NonFinite)
    assert refusal.id == 7


def test_the_text_is_read_again_only_where_it_may_hold_such_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbers, "exactly", lambda _: pytest.fail("read again"))
    for metadata in ('{"x":1e20}', '{"x":12345678901234567890}', '{"x":"99999999999999999999"}'):
        assert taken(metadata, "add") is not None
