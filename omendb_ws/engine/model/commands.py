"""What kinds of work there are; each room of the engine has the commands that it does."""

from __future__ import annotations

from dataclasses import dataclass

from .shard import Shard
from .ticket import Command, Effect


@dataclass(slots=True, eq=False)
class Change(Command):
    """Done in the order in which its connection sent it."""

    shard: Shard


class Read(Command):
    """Done after the changes that its connection sent before it."""

    __slots__ = ()


class Signal:
    """A work that waits for nothing."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Beat(Signal):
    """Its effect comes back with those of a tick: the engine goes on."""

    effect: Effect
