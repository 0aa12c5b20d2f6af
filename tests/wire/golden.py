"""The golden messages as files: ``python -m tests.wire.golden`` writes them anew.

``tests/vectors/index.json`` lists every case: ``name``, ``sent_by``, and ``meaning``, what the
message says, in plain JSON (arrays as lists, NaN as null, integers above 2**53 - 1 as strings). A
text message stands there as ``text``; a binary one in the ``file`` beside it. What else is in the
folder is for others: a README, and a program that asks theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from .cases import CASES, Case
from .plain import plain

FOLDER = Path(__file__).parent.parent / "vectors"


def named(decoded: Any) -> Any:
    """What a message says; a binary answer's id beside it."""
    if isinstance(decoded, tuple):
        return {"id": decoded[0], **plain(decoded[1])}
    return plain(decoded)


def entry(case: Case) -> dict[str, Any]:
    body: dict[str, Any] = {"name": case.name, "sent_by": case.sent_by}
    if case.is_binary:
        body["file"] = f"{case.name}.bin"
    else:
        body["text"] = case.data.decode()
    return {**body, "meaning": named(case.decoded)}


def files() -> dict[str, bytes]:
    """Name to content of every golden file."""
    index = orjson.dumps([entry(case) for case in CASES], option=orjson.OPT_INDENT_2) + b"\n"
    frames = {f"{case.name}.bin": case.data for case in CASES if case.is_binary}
    return {"index.json": index, **frames}


def write() -> None:
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    write()
