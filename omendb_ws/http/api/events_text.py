"""Pushes as server-sent events: bytes only, no socket (PROTOCOL section 11).

An event is the push as the WebSocket sends it, and an ``id`` to go on after it. A push is JSON
without a line break, so it is one ``data`` line, and its name and place stand at its beginning.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from omendb_core.model.errors import BadRequest
from omendb_core.model.types import MAX_SAFE_INTEGER

MEDIA_TYPE: Final = "text/event-stream"
#: Sent so often that a proxy, and a client, knows the stream to be there.
COMMENT: Final = b": \n\n"

_ENDED: Final = "ended"
_EVENT: Final = re.compile(
    rb'\{"event":"([a-z]+)"(?:,"sub":\d+)?'
    rb'(?:,"(?:version|from_seq)":(\d+))?(?:,"to_seq":(\d+))?'
)
_OK: Final = re.compile(
    rb'\{"sub":(\d+),"epoch":"([0-9A-Za-z-]+)","version":(\d+)(?:,"to_seq":(\d+))?'
)
#: More than the beginning that ``_EVENT`` looks at can have.
_HEAD_BYTES: Final = 128
_WHITESPACE: Final = " \t\n\r"
_LAST_EVENT_ID: Final = re.compile(r"([0-9A-Za-z-]{1,64}):(ended|0|[1-9][0-9]{0,15})")


class Place(NamedTuple):
    """How far a reader has come in an epoch; ``to_seq`` None: its stream has ended.

    Of a ``live`` stream ``to_seq`` is the version of its view: it begins again with a snapshot.
    """

    epoch: str
    to_seq: int | None

    def __str__(self) -> str:
        return f"{self.epoch}:{_ENDED if self.to_seq is None else self.to_seq}"


def parse_place(text: str) -> Place:
    """What ``Last-Event-ID`` says. BadRequest."""
    found = _LAST_EVENT_ID.fullmatch(text)
    if found is None or (found[2] != _ENDED and int(found[2]) > MAX_SAFE_INTEGER):
        raise BadRequest("Last-Event-ID: must be the id of an event, as epoch:to_seq")
    return Place(found[1], None if found[2] == _ENDED else int(found[2]))


class Begun(NamedTuple):
    """The epoch of a stream, and what it begins with."""

    epoch: str
    first: bytes


def begin(kind: str, ok: bytes, retry_ms: int) -> Begun:
    """How a stream begins, by the ``ok`` of its ``subscribe``.

    A ``live`` one by a snapshot, which is that; others by an empty push, which says where they
    start, so that a client that is cut off before the first row knows it; statistics at once.
    """
    found = _OK.match(ok[:_HEAD_BYTES])
    assert found is not None, "the reply to a subscribe"
    sub, epoch, version, to_seq = found[1], found[2].decode(), found[3], found[4]
    retry = b"retry: %d\n" % retry_ms
    if kind == "live":
        return Begun(epoch, _event(b"snapshot", Place(epoch, int(version)), ok, retry))
    if to_seq is None:
        return Begun(epoch, retry + b"\n")
    name = kind.encode()
    form = b'{"event":"%b","sub":%b,"version":%b,"to_seq":%b,"rows":[]}'
    empty = form % (name, sub, version, to_seq)
    return Begun(epoch, _event(name, Place(epoch, int(to_seq)), empty, retry))


def event(data: bytes, epoch: str) -> bytes:
    """A message of a stream of ``epoch``, as an event."""
    found = _EVENT.match(data[:_HEAD_BYTES])
    assert found is not None, "every push is an event"
    name, at, to_seq = found.groups()
    place = None
    if to_seq is not None:
        place = Place(epoch, int(to_seq))
    elif name == b"live":
        place = Place(epoch, int(at))
    elif name == b"ended":
        place = Place(epoch, None)
    return _event(name, place, data)


def _event(name: bytes, place: Place | None, data: bytes, retry: bytes = b"") -> bytes:
    id_line = b"" if place is None else b"id: %b\n" % str(place).encode()
    return b"%bevent: %b\n%bdata: %b\n\n" % (retry, name, id_line, data)


def behind(body: str, place: Place) -> str:
    """The JSON ``body`` of a subscription, which goes on behind ``place`` instead of where it says.

    Of keys that stand there twice the last counts; what is no JSON object stays none.
    """
    text = body.strip(_WHITESPACE)
    if place.to_seq is None or not text.endswith("}"):
        return body
    comma = "," if text[1:-1].strip(_WHITESPACE) else ""
    return f'{text[:-1]}{comma}"from_seq":{place.to_seq + 1},"epoch":"{place.epoch}"}}'
