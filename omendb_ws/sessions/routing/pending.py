"""A request that another node has not answered yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...wire.heads import Head
from .link import Link
from .listing import Listing


@dataclass(slots=True, eq=False)
class Pending:
    """``name``: the collection that it is about, where one is; ``key``: which one had that name
    then. ``as_text``: its answer is to be a
    text, though it is sent as a frame. ``listing``: other nodes, too, have their part. ``span``: of
    its trace."""

    head: Head
    link: Link
    size_bytes: int
    name: str | None
    is_change: bool
    key: str = ""
    as_text: bool = False
    listing: Listing | None = None
    span: Any = None

    def is_owed_by(self, link: Link) -> bool:
        """Whether a node has it to answer."""
        return link is self.link if self.listing is None else link in self.listing.waits

    @property
    def is_sent(self) -> bool:
        """Whether the node may have begun it."""
        return self.link.was_open
