"""Counts as JSON: the reply of ``count``, and what ``count`` subscriptions hear (PROTOCOL 5, 6).

What was counted is written once, as the *members* of an object, and stands in every message that
says it: those of many subscriptions share it. Knows the engine's types, no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from omendb_core.model.types import CountsBy

from .encoded import Message
from .hits import dumps


class Counted(NamedTuple):
    """What was counted at ``version``, as the members of an object."""

    version: int
    members: bytes


def counted_all(version: int, count: int) -> Counted:
    """How many rows there are."""
    return Counted(version, b'"count":%d' % count)


def counted_over(versions: Sequence[int], found: CountsBy, by: str | None) -> Counted:
    """What was counted in all shards, each at its version."""
    counted = counted_all(found.version, found.count) if by is None else counted_by(found)
    return Counted(found.version, b'%b,"versions":%b' % (counted.members, dumps(list(versions))))


def counted_by(found: CountsBy) -> Counted:
    """How many of them by value."""
    listed = [
        {"value": value, "count": count}
        for value, count in zip(found.values, found.counts, strict=True)
    ]
    form = b'"count":%d,"by":%b,"others":%d'
    return Counted(found.version, form % (found.count, dumps(listed), found.others))


def encode_count(request_id: int, counted: Counted) -> Message:
    """The answer to ``count``."""
    return _around(b'{"id":%d,"ok":{"version":%d,' % (request_id, counted.version), counted, b"}}")


def encode_count_begun(request_id: int, sub: int, epoch: str, counted: Counted) -> Message:
    """The answer to ``subscribe``, which holds the first count."""
    said = (request_id, sub, dumps(epoch), counted.version)
    head = b'{"id":%d,"ok":{"sub":%d,"epoch":%b,"version":%d,' % said
    return _around(head, counted, b"}}")


def encode_count_push(sub: int, counted: Counted) -> Message:
    """One push of a ``count`` subscription."""
    head = b'{"event":"count","sub":%d,"version":%d,' % (sub, counted.version)
    return _around(head, counted, b"}")


def _around(head: bytes, counted: Counted, tail: bytes) -> Message:
    return Message((head, counted.members, tail), True)
