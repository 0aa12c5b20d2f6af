"""Principals of the grants' state machine: what each holds, and what each may see of the window."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from tests.oracle import Oracle
from tests.oracle.grants import forced, seen
from tests.oracle.shaping import Refused

from .raw import Raw

NAME = "items"
READ, WRITE = ["read"], ["read", "write"]
#: What a token may come to hold, narrower and wider ones of each.
GRANTS: tuple[list[dict[str, Any]], ...] = (
    [{"rights": WRITE, "filter": {"kind": "a"}, "stamp": {"kind": "a"}}],
    [{"rights": WRITE, "filter": {"kind": "a", "new": True}, "stamp": {"kind": "a", "new": True}}],
    [
        {"rights": READ, "filter": {"$or": [{"kind": "b"}, {"new": True}]}},
        {"rights": ["write"], "filter": {"kind": "b"}, "stamp": {"kind": "b", "price": 9}},
    ],
    [{"rights": WRITE, "filter": {"stock": {"$gte": 0}}}],
    [{"rights": WRITE, "stamp": {"kind": "b", "stock": 2}}],
    [
        {"rights": READ, "collections": ["it*s"], "filter": {"kind": "ü"}},
        {"rights": WRITE, "collections": ["other-*", "items"], "filter": {"$not": {"kind": "a"}}},
    ],
    [
        {"rights": WRITE, "filter": {"kind": "a"}, "stamp": {"kind": "a"}},
        {"rights": WRITE, "filter": {"kind": "b"}, "stamp": {"kind": "b"}},
    ],
    [{"rights": READ, "filter": {"price": {"$lt": {"$mul": ["stock", 2]}}}}],
    [{"rights": ["write", "admin"], "filter": {"kind": "a"}}],
    [{"rights": WRITE, "collections": ["other-*"]}],
    [{"rights": WRITE}],
)
ALL: list[dict[str, Any]] = [{"rights": ["read", "write", "admin"]}]
#: The last one has an API key, the others JSON Web Tokens.
NAMES = ("ann", "bob", "kim")
KEYED = NAMES[-1]


@dataclasses.dataclass
class Person:
    """A principal, its connection, and what it asked to be told."""

    name: str
    grants: list[dict[str, Any]]
    raw: Raw
    handle: int = 0
    asked: dict[int, Any] = dataclasses.field(default_factory=dict)
    stack: AsyncExitStack = dataclasses.field(default_factory=AsyncExitStack)

    def sees(self, right: str | None = "read") -> list[Any] | None:
        """Refused: nothing."""
        return forced(self.grants, right, NAME)

    @property
    def may_read(self) -> bool:
        return any("read" in one["rights"] for one in self._of_this)

    @property
    def may_write(self) -> bool:
        return any("write" in one["rights"] for one in self._of_this)

    @property
    def _of_this(self) -> list[dict[str, Any]]:
        try:
            forced(self.grants, None, NAME)
        except Refused:
            return []
        return self.grants


class SeenStates(Mapping[int, Oracle]):
    """version -> the window as somebody saw it."""

    def __init__(self, history: dict[int, Oracle], filters: list[Any] | None) -> None:
        self._history, self._filters = history, filters
        self._found: dict[int, Oracle] = {}

    def __getitem__(self, version: int) -> Oracle:
        if version not in self._found:
            self._found[version] = seen(self._history[version], self._filters)
        return self._found[version]

    def __iter__(self) -> Iterator[int]:
        return iter(self._history)

    def __len__(self) -> int:
        return len(self._history)


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
