"""Replies that are written in pieces."""

from __future__ import annotations

import pytest

from omendb_ws.engine.pieces import copies
from omendb_ws.wire.text_replies import JsonList


@pytest.mark.parametrize("sizes", [[], [1], [3, 9, 9], [4, 4], [9, 1, 1, 1, 9]])
def test_a_list_that_is_written_in_pieces_is_what_it_is_at_once(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_JOINED_BYTES", 8)
    items = [b'"%b"' % (b"x" * size) for size in sizes]
    steps = copies.list_written(JsonList(b'{"rows":[', items, b"]}"))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            message = end.value
            break
    assert message.is_text
    assert message.data == b'{"rows":[%b]}' % b",".join(items)
    assert len(message.parts) <= 2 + 2 * len(items)
