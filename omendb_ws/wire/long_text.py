"""A long text message to a request, in pieces: a generator that yields between.

What ``text.decode_request`` does, for texts whose reading would hold up others. Tests hold the two
to each other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from omendb_core.model.errors import BadRequest, OmenError

from . import examples, numbers, text, unread, vectors
from .limits import Limits
from .long_json import PIECE_CHARACTERS, Loaded, NotJson, TooManyContainers, load
from .messages import Given, JsonObject, Refusal, Request
from .opcodes import EXAMPLES, MAX_EXAMPLES

#: Texts up to here are read in one piece: of small objects, 64 KiB take 1 ms.
MOST_CHARACTERS: Final = 64 << 10
#: A piece where the standard library reads, which calls Python for each integer: 0.3 µs.
_EXACT_SHARE: Final = 8
#: PROTOCOL section 9: lists and objects of a message, for each row that it may have, and at least.
#: Empty ones take 27 times the memory of their three characters.
_CONTAINERS_A_ROW: Final = 16
_LEAST_CONTAINERS: Final = 1 << 16


def most_containers(limits: Limits) -> int:
    """How many lists and objects the JSON of a message may have."""
    return max(_LEAST_CONTAINERS, _CONTAINERS_A_ROW * limits.max_rows)


def too_many_containers(most: int) -> BadRequest:
    """The refusal of more."""
    return BadRequest(f"more than {most} lists and objects in one message (16 x max_rows)")


class Decoded(NamedTuple):
    """A request, or why there is none; ``loaded`` is what it was read into, to be let go of."""

    request: Request | Refusal
    loaded: Loaded | None = None


def decode(
    message: str,
    limits: Limits,
    piece_characters: int = PIECE_CHARACTERS,
    given: Given | None = None,
) -> Generator[None, None, Decoded]:
    """As ``text.decode_request``, in pieces of about so many characters."""
    if (yield from _is_too_long(message, limits, piece_characters)):
        return Decoded(text.too_long(limits))
    most = most_containers(limits)
    try:
        loaded = yield from load(message, orjson.loads, piece_characters, most)
    except TooManyContainers:
        return Decoded(Refusal(unread.id_of(message), too_many_containers(most)))
    except NotJson as error:
        refusal = None
        if text.is_of_infinity(error.msg):
            refusal = yield from _beyond_doubles(message, piece_characters, given)
        return Decoded(refusal or text.no_json(error.msg, error.pos))
    request_id = text.id_of(loaded.value, given)
    if isinstance(request_id, Refusal):
        return Decoded(request_id, loaded)
    try:
        if text.has_rows(loaded.value):
            yield from check_integers(message, loaded, piece_characters)
        yield from _read_vectors(loaded)
        yield from read_examples(loaded.value)
        return Decoded(text.request_of(request_id, loaded.value, limits), loaded)
    except OmenError as error:
        return Decoded(Refusal(request_id, error), loaded)


def _is_too_long(
    message: str, limits: Limits, piece_characters: int
) -> Generator[None, None, bool]:
    most = limits.max_text_bytes
    if len(message) > most or message.isascii() or len(message) * 4 <= most:
        return len(message) > most
    length = 0
    for start in range(0, len(message), piece_characters):
        length += len(message[start : start + piece_characters].encode(errors="surrogatepass"))
        yield
    return length > most


def _beyond_doubles(
    message: str, piece_characters: int, given: Given | None
) -> Generator[None, None, Refusal | None]:
    """The refusal of a text with such a number; None if it is no JSON, or has no id."""
    exact = yield from exactly(message, piece_characters)
    if exact is None:
        return None
    request_id = text.id_of(exact.value, given)
    refusal = None
    if not isinstance(request_id, Refusal):
        try:
            yield from refuse_changed(exact)
            refusal = text.not_finite(request_id)
        except OmenError as error:
            refusal = Refusal(request_id, error)
    yield from exact.free()
    return refusal


def exactly(message: str, piece_characters: int) -> Generator[None, None, Loaded | None]:
    """As ``numbers.exactly``."""
    piece_characters = max(1, piece_characters // _EXACT_SHARE)
    try:
        return (yield from load(message, numbers.parse_exactly, piece_characters))
    except NotJson:
        return None


def refuse_changed(exact: Loaded) -> Generator[None, None, None]:
    """As ``numbers.refuse``."""
    for start, metadata in _metadata(exact):
        try:
            numbers.refuse(metadata)
        except OmenError as error:
            error.row = start + (error.row or 0)
            raise
        yield


def _metadata(loaded: Loaded) -> Iterator[tuple[int, list[Any]]]:
    """The metadata of some rows at a time, and which row is the first of them."""
    body: JsonObject = loaded.value
    field = "rows" if type(body.get("rows")) is list else "metadata"
    found = body.get(field)
    if type(found) is list:
        start = 0
        for count in loaded.counts_of(found):
            yield start, numbers.metadata_of({field: found[start : start + count]})
            start += count


def _read_vectors(loaded: Loaded) -> Generator[None, None, None]:
    """Put an array in place of the lists of ``vectors``, unless there is a fault in them."""
    body: JsonObject = loaded.value
    found = body.get("vectors")
    if type(found) is not list or not found or type(found[0]) is not list:
        return
    made, start = [], 0
    try:
        for count in filter(None, loaded.counts_of(found)):
            some = found[start : start + count]
            made.append(vectors.from_lists(some, "vectors", len(found[0])))
            start += count
            yield
    except OmenError:  # which of the request's faults is told is for ``request_of``
        return
    body["vectors"] = np.concatenate(made)


def read_examples(body: Any) -> Generator[None, None, None]:
    """Put arrays in place of the vectors among examples, unless there is a fault in them."""
    for one in EXAMPLES:
        found = body.get(one.name) if type(body) is dict else None
        if type(found) is list and len(found) <= MAX_EXAMPLES:
            yield from examples.read_in_pieces(found, one.name)


def check_integers(
    message: str, loaded: Loaded, piece_characters: int
) -> Generator[None, None, None]:
    """As ``numbers.check_integers``."""
    for is_meant in (numbers.may_be_large, numbers.has_large):
        is_there = False
        for _, metadata in _metadata(loaded):
            is_there = is_there or is_meant(metadata)
            yield
        if not is_there:
            return
    overlap = numbers.RUN_DIGITS - 1
    for start in range(0, len(message), piece_characters):
        some = message[max(0, start - overlap) : start + piece_characters]
        if numbers.has_long_run(some.encode("latin-1", "replace")):
            break
        yield
    else:
        return
    exact = yield from exactly(message, piece_characters)
    if exact is not None:
        yield from refuse_changed(exact)
        yield from exact.free()
