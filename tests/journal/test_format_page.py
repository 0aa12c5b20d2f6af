"""docs/journal.md says what the code does: the header, the types, the JSON of each."""

from __future__ import annotations

import re

import numpy as np
import orjson
from omendb_core.model.logged import Checkpoint
from omendb_core.replay import kept_rows
from omendb_core.window import Window

from omendb_ws.journal.local import notes, records
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.openings import Opening, opening_body
from omendb_ws.journal.local.records import Body, Type
from tests.core.windows import LIMITS, definition, history
from tests.journal.logs import manifest
from tests.project.pages import ROOT

PAGE = (ROOT / "docs" / "journal.md").read_text("utf-8")
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q"}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}


TYPES = r"type \| name \| `seq`"


def rows_of(first_cell: str) -> list[list[str]]:
    """The rows of the table whose heading begins with ``first_cell``."""
    (table,) = re.findall(rf"^\| {first_cell} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def json_of(body: Body) -> set[str]:
    whole = b"".join(body.buffers)
    return set(orjson.loads(whole[: body.json_bytes])) if body.json_bytes else set()


def test_the_header_is_the_pages() -> None:
    rows = rows_of("offset")
    assert [(name.strip("`"), CODES[kind]) for _, kind, name, _ in rows] == list(
        records.HEADER_FIELDS
    )
    at = 0
    for offset, kind, _, _ in rows:
        assert int(offset) == at
        at += SIZES[kind]
    assert at == records.HEADER_BYTES == 64
    assert rows[0][3] == f"0x{records.MAGIC:X}"
    assert rows[1][3] == str(records.FORMAT)


def test_the_types_are_the_pages() -> None:
    found = {int(number): name.strip("`").upper() for number, name, *_ in rows_of(TYPES)}
    assert found == {int(type_): type_.name for type_ in Type}


def test_the_json_of_each_type_is_the_pages() -> None:
    said = {name.strip("`"): named(json) for _, name, _, json, _ in rows_of(TYPES)}
    found: dict[str, set[str]] = {name: set() for name in said}
    for ids in ("u64", "str", "auto"):
        window = Window(definition(ids, capacity=30), LIMITS)  # type: ignore[arg-type]
        for change in history(window, 1, 200):
            for body in (body_of(change), body_of(kept_rows(window, 1, window.last_seq))):
                found[body.type.name.lower()] |= json_of(body)
    assert found == said


def test_the_json_of_an_opening_is_the_pages() -> None:
    (text,) = re.findall(r"^`open` is the first record.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    opening = Opening(manifest(definition()), Checkpoint(), 1, None, "boot")
    assert named(text) - {"open"} == json_of(opening_body(opening))


def test_the_note_is_the_pages() -> None:
    *rows, (at, kind, name, _) = rows_of("at")
    assert [(name.strip("`"), CODES[kind]) for _, kind, name, _ in rows] == list(notes.FIELDS)
    sizes = [SIZES[kind] for _, kind, _, _ in rows]
    assert [int(at) for at, *_ in rows] == [sum(sizes[:place]) for place in range(len(sizes))]
    assert (int(at), kind, name) == (sum(sizes), "u64", "`checksum`")
    assert rows[0][3] == f"0x{notes.MAGIC:X}"
    assert rows[1][3] == str(notes.FORMAT)
    assert f"Two slots of {notes.SLOT_BYTES} bytes" in PAGE


def test_a_header_by_hand_is_read() -> None:
    """The table alone is enough to read a record."""
    window = Window(definition("u64"), LIMITS)
    change = next(history(window, 0, 1))
    data = b"".join(records.encode(body_of(change), seed=9, offset=0, flushed_to=48))
    dtype = np.dtype(
        [(name.strip("`"), f"<{kind[0]}{SIZES[kind]}") for _, kind, name, _ in rows_of("offset")]
    )
    (header,) = np.frombuffer(data[:64], dtype)
    assert header["flushed_to"] * 8 == 48
    assert header["version"] == change.version
    assert 64 + header["payload_bytes"] == len(data)
