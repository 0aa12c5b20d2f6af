"""A binary message with a long JSON section, in pieces: a generator that yields between.

What ``binary.decode_request`` does, for messages whose metadata, ids, dictionaries or filters would
hold up others as they are parsed. Tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Final

import orjson
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadFrame, OmenError

from . import binary, text
from .frames import json_section, read_header
from .limits import Limits
from .long_json import PIECE_CHARACTERS, Loaded, NotJson, TooManyContainers, load
from .long_metadata import load_rows
from .long_text import (
    Decoded,
    check_integers,
    exactly,
    most_containers,
    read_examples,
    refuse_changed,
    too_many_containers,
)
from .messages import Add
from .opcodes import HEADER_BYTES, KINDS

#: JSON sections up to here are read in one piece, as texts are.
MOST_JSON_BYTES: Final = 64 << 10


def is_long(frame: bytes) -> bool:
    """Whether ``frame`` is a request whose JSON is better read in pieces."""
    if len(frame) <= HEADER_BYTES + MOST_JSON_BYTES:
        return False
    try:
        header = read_header(frame)
    except BadFrame:
        return False
    kind = KINDS.get(header.kind)
    is_request = kind is not None and kind.direction == "request"
    return is_request and MOST_JSON_BYTES < header.json_bytes <= len(frame) - HEADER_BYTES


def decode(
    frame: bytes,
    limits: Limits,
    columns_of: binary.ColumnsOf | None = None,
    piece_characters: int = PIECE_CHARACTERS,
) -> Generator[None, None, Decoded]:
    """As ``binary.decode_request``, with the JSON section read in pieces of about so many bytes."""
    section = bytes(json_section(frame, read_header(frame)))
    message, loaded = "", None
    read_json: Callable[[], Any]
    try:
        loaded = yield from load_rows(section, most_containers(limits), piece_characters)
        message = str(section, "utf-8")
        if loaded is None:
            loaded = yield from _loaded(message, limits, piece_characters)
    except UnicodeDecodeError:
        read_json = _raising(binary.no_json("not UTF-8"))
    except OmenError as error:
        read_json = _raising(error)
    else:
        value = loaded.value
        yield from read_examples(value)

        def read_json() -> Any:
            return value

    request = binary.decode_request(frame, limits, columns_of, read_json)
    if isinstance(request, Add) and isinstance(request.rows, RowBatch) and loaded is not None:
        try:
            if request.rows.metadata is not None:
                yield from check_integers(message, loaded, piece_characters)
        except OmenError as error:
            request = replace(request, rows=error)
    return Decoded(request, loaded)


def _raising(error: OmenError) -> Callable[[], Any]:
    def read_json() -> Any:
        raise error

    return read_json


def _loaded(message: str, limits: Limits, piece_characters: int) -> Generator[None, None, Loaded]:
    """What the section says. OmenError where it is no JSON, or has what cannot be kept."""
    most = most_containers(limits)
    try:
        return (yield from load(message, orjson.loads, piece_characters, most))
    except TooManyContainers:
        raise too_many_containers(most) from None
    except NotJson as error:
        if text.is_of_infinity(error.msg):
            exact = yield from exactly(message, piece_characters)
            if exact is not None:
                yield from _refuse_infinities(exact)
        raise binary.no_json(error.msg) from None


def _refuse_infinities(exact: Loaded) -> Generator[None, None, None]:
    try:
        yield from refuse_changed(exact)
    finally:
        yield from exact.free()
