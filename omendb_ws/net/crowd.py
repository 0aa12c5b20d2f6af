"""All connections together: the bytes they hold, and who leaves when that is too much.

A connection may hold half a message, requests that are not answered and answers that it does not
take: megabytes, by its own limits, and there may be thousands. So there is one budget for those
that are known, and one, with a number of places, for those that are not yet. Whoever's bytes have
waited longest for the client leaves first: what waits for the server is done in a moment, a client
that sends and takes is never the one, and one that only holds on always becomes it. (Not the
largest: many that hold a little each would drive out the one that works.) Before that, where it
is only tight, large messages go on by turns (``rations.py``): nobody has to leave who only has to
wait. Where those whose turn it is do not go on, they make way for those that wait. Of strangers the
oldest leaves: a newcomer gets in, and who is known soon does not stay a stranger.

Lives on the loop's thread; knows no socket. Invariant: ``held_bytes`` is the sum of its members'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ..access.peer import Peer
from ..runtime.freed_memory import FreedMemory
from .rations import Rations, Sender
from .rests import Rests

#: Shares of the budget: from where on nothing is read beside what is under way, how far large
#: messages may go then, and down to where room is made.
_TIGHT: Final = 3 / 4
_RATIONED: Final = 15 / 16
_RELIEVED: Final = 7 / 8
#: When connections let go of so much, the system gets it back. Less is used again by others.
_MANY_FREED_BYTES: Final = 128 << 20
#: Who holds less keeps nobody waiting.
_MUCH_BYTES: Final = 64 << 10


class Member(Sender, Protocol):
    """A connection. ``held_bytes`` changes by ``Crowd.change`` only."""

    held_bytes: int

    @property
    def peer(self) -> Peer:
        """Where its client is."""

    def waits_since(self) -> float:
        """When what it holds began to wait for its client; infinite if nothing does."""

    @property
    def has_much_under_way(self) -> bool:
        """Whether much of what it holds is free again as soon as the server has answered."""

    def shed(self) -> None:
        """Leave at once, and let go of everything."""


class Crowd:
    """The members of one pool and the bytes they hold.

    ``on_shed`` hears of each that had to leave.
    """

    def __init__(self, max_members: int, max_bytes: int, on_shed: Callable[[Member], None]) -> None:
        self.held_bytes = 0
        self.freed = FreedMemory(_MANY_FREED_BYTES)
        #: Those of them that are not read from for a moment.
        self.rests = Rests()
        #: Whether more should not be asked for as long as something is under way.
        self.is_tight = False
        #: Whether large messages go on by turns: else all may go on.
        self.is_rationing = False
        self._max_members = max_members
        self._max_bytes = max_bytes
        self._on_shed = on_shed
        self._members: dict[Member, None] = {}
        self._rations = Rations(self._is_room_coming)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members))

    def enter(self, member: Member) -> None:
        """Count a member in."""
        self._members[member] = None
        self.held_bytes += member.held_bytes
        if len(self._members) > self._max_members:
            self._shed(next(iter(self._members)))
        self._changed(member.held_bytes)

    def leave(self, member: Member) -> None:
        """Count a member out, if it is in; after a fault of that it can be called again."""
        if member in self._members:
            self._rations.forget(member)
            del self._members[member]
            self.held_bytes -= member.held_bytes
            self._changed(-member.held_bytes)

    def change(self, member: Member, to_bytes: int) -> None:
        """What a member holds has changed."""
        change = to_bytes - member.held_bytes
        member.held_bytes = to_bytes
        if member in self._members:
            self.held_bytes += change
            self._changed(change)

    def may_go_on(self, member: Member) -> bool:
        """Whether a member may be read from; if not, it is let on when there is room."""
        is_free = not self.is_rationing or member not in self._members
        return is_free or self._rations.may_go_on(member, self._room_bytes)

    def make_way(self, waiting_since: float) -> None:
        """While some wait for room, those leave who hold much of it and have waited for their
        clients since then. Call it regularly.
        """
        self._rations.look(self._room_bytes)
        if self._rations.has_waiting:
            self._make_room(0, waiting_since, _MUCH_BYTES)

    @property
    def _room_bytes(self) -> int:
        return int(self._max_bytes * _RATIONED) - self.held_bytes

    def _is_room_coming(self) -> bool:
        return any(member.has_much_under_way for member in self._members)

    def _changed(self, change: int) -> None:
        self.freed.note(self.held_bytes)
        self.is_tight = self.held_bytes > self._max_bytes * _TIGHT
        if change > 0 and self.held_bytes > self._max_bytes:  # those that leave are relief itself
            self._make_room(self._max_bytes * _RELIEVED)
        if self.is_tight or self.is_rationing:
            self._ration()

    def _ration(self) -> None:
        rations = self._rations
        if self.is_tight and not self.is_rationing:
            self.is_rationing = True
            rations.begin(self._members, self._room_bytes)
        elif rations.has_waiting:
            rations.look(self._room_bytes)
        if self.is_rationing and not (self.is_tight or rations.has_waiting):
            self.is_rationing = False
            rations.end()

    def _make_room(
        self, to_bytes: float, waiting_since: float = math.inf, least_bytes: int = 1
    ) -> None:
        """Make some room at once: finding who leaves looks at all."""
        holders = [
            (member.waits_since(), -member.held_bytes, member)
            for member in self._members
            if member.held_bytes >= least_bytes
        ]
        holders.sort(key=lambda holder: holder[:2])
        for since, _, member in holders:
            if self.held_bytes <= to_bytes or since > waiting_since:
                return
            self._shed(member)

    def _shed(self, member: Member) -> None:
        self.leave(member)
        self._on_shed(member)
        member.shed()
