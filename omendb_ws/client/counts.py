"""Counts of rows, by the values of a column: what ``count`` returns, and an async iterator over it.

Knows connections, no socket (PROTOCOL sections 5 and 6, "count").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..wire import messages
from ..wire.fields import check_limit_of
from ..wire.messages import JsonObject
from . import arguments, requests
from .arguments import field
from .connection import Connection
from .given import Filter
from .link import Push
from .plain import filter_document
from .requests import Encode
from .subscriptions import Subscription

#: A value of a column; None for rows that have none.
Value: TypeAlias = float | int | bool | str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there are at ``version``, and how many have each value of a column.

    ``by`` says how many rows have each value, the most frequent first (of equally many by value,
    None last), and ``others`` how many have none of them: all, where there is no column to count
    by. ``versions``: of a collection with several shards, that of each.
    """

    version: int
    count: int
    by: Mapping[Value, int]
    others: int
    versions: tuple[int, ...] = ()


def read_counts(ok: JsonObject) -> Counts:
    """Return what a reply, or a push, of counts says."""
    by = {one["value"]: one["count"] for one in ok.get("by", ())}
    others = ok["others"] if "others" in ok else ok["count"]
    return Counts(ok["version"], ok["count"], by, others, tuple(ok.get("versions", ())))


def count_fields(filter: Filter | None, by: str | None, limit: int | None) -> dict[str, Any]:
    """What is to be counted, checked and copied; None for what is left to the server."""
    fields: dict[str, Any] = {"filter": filter_document(filter)}
    if by is not None:
        fields["by"] = arguments.text(by, "by")
    if limit is not None:
        fields["limit"] = arguments.bounded(limit, field("count", "limit"))
    check_limit_of(fields)
    return fields


class CountWatch(Subscription[Counts]):
    """How many rows there are, now and whenever that has changed, at most each ``every_ms``.

    Yields ``Counts``: first that of this moment, then each that differs from the one yielded
    before, always the latest.
    """

    def __init__(self, connection: Connection, fields: dict[str, Any]) -> None:
        super().__init__(connection, fields["collection"])
        self._fields = fields
        self._latest: Counts | None = None
        self._yielded: Counts | None = None

    def _request(self) -> Encode:
        return requests.plain(messages.Subscribe, kind="count", **self._fields)

    def _start(self, ok: JsonObject) -> None:
        self._latest = read_counts(ok)

    def _keep(self, push: Push, size_bytes: int) -> None:
        if isinstance(push, messages.Event) and push.event == "count":
            self._latest = read_counts(push.body)

    def _next_item(self) -> Counts | None:
        latest, self._latest = self._latest, None
        if latest is None or _is_same(latest, self._yielded):
            return None
        self._yielded = latest
        return latest


def _is_same(one: Counts, other: Counts | None) -> bool:
    """Whether they differ in the version only."""
    return other is not None and (one.count, one.by, one.others) == (
        other.count,
        other.by,
        other.others,
    )
