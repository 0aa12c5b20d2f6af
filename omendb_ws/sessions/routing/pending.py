"""A request that another node has not answered yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...wire.heads import Head
from .link import Link


@dataclass(slots=True, eq=False)
class Pending:
    """``name``: the collection that it is about, where one is. ``as_text``: its answer is to be a
    text, though it is sent as a frame. ``span``: of its trace."""

    head: Head
    link: Link
    size_bytes: int
    name: str | None
    is_change: bool
    as_text: bool = False
    span: Any = None

    @property
    def is_sent(self) -> bool:
        """Whether the node may have begun it."""
        return self.link.was_open
