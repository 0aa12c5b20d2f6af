"""What kinds of work there are; each room of the engine has the commands that it does."""

from __future__ import annotations

from dataclasses import dataclass

from .shard import Shard
from .ticket import Command


@dataclass(slots=True, eq=False)
class Change(Command):
    """Done in the order in which its connection sent it."""

    collection: Shard


class Read(Command):
    """Done after the changes that its connection sent before it."""

    __slots__ = ()


class Signal:
    """A work that waits for nothing."""

    __slots__ = ()
