"""Large messages while memory is tight: who is read from, and who waits until there is room.

What half messages hold is free again only if they go on: a message is looked at when it is whole.
While the budget is tight those that began first go on, as many as the rest of it has room for,
whole; the others are not read from, which slows their clients down (TCP), and have their turn in
the order in which they began. Where no room is about to come one goes on all the same, so they
cannot all wait for each other.

Lives on the loop's thread; knows no socket. Invariant: nobody is granted and waiting at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol


class Sender(Protocol):
    """Who may be in the middle of a large message."""

    def missing_bytes(self) -> int:
        """How much of it may still come; 0 if there is none."""

    def began_at(self) -> float:
        """When it began."""

    def hold_on(self) -> None:
        """Do not read on until ``let_on``."""

    def let_on(self) -> None:
        """Read on, in a turn to come."""


class Rations:
    """Who may read on. ``room_bytes``, each time: what is left of the budget. ``is_room_coming``
    says whether requests are under way: room comes when they are answered.
    """

    def __init__(self, is_room_coming: Callable[[], bool]) -> None:
        self._is_room_coming = is_room_coming
        self._granted: dict[Sender, None] = {}
        #: In the order of their turns.
        self._waiting: dict[Sender, None] = {}
        #: How many that waited were let on, ever.
        self.let_on = 0

    @property
    def has_waiting(self) -> bool:
        """Whether anybody is not read from."""
        return bool(self._waiting)

    def begin(self, senders: Iterable[Sender], room_bytes: int) -> None:
        """It has become tight: the oldest go on."""
        found = [one for one in senders if one not in self._waiting and one.missing_bytes()]
        found.sort(key=lambda one: one.began_at())
        for one in found:
            if not self._ask(one, room_bytes):
                one.hold_on()

    def may_go_on(self, sender: Sender, room_bytes: int) -> bool:
        """Whether ``sender`` may be read from; if not, it is let on when its turn comes."""
        if sender in self._granted:
            return True
        if sender.missing_bytes():
            return self._ask(sender, room_bytes)
        self._waiting.pop(sender, None)
        return True

    def look(self, room_bytes: int) -> None:
        """There may be room again: let on those whose turn it is."""
        for sender in list(self._waiting):
            missing_bytes = sender.missing_bytes()
            if missing_bytes and not self._has_room(missing_bytes, room_bytes):
                return
            del self._waiting[sender]
            if missing_bytes:
                self._granted[sender] = None
            self.let_on += 1
            sender.let_on()

    def end(self) -> None:
        """It is tight no more, and nobody waits."""
        self._granted.clear()

    def forget(self, sender: Sender) -> None:
        """It is gone."""
        self._granted.pop(sender, None)
        self._waiting.pop(sender, None)

    def _ask(self, sender: Sender, room_bytes: int) -> bool:
        if not self._waiting and self._has_room(sender.missing_bytes(), room_bytes):
            self._granted[sender] = None
            return True
        self._waiting[sender] = None
        return False

    def _has_room(self, missing_bytes: int, room_bytes: int) -> bool:
        """For one more, beside those that go on."""
        needs = {one: one.missing_bytes() for one in self._granted}
        self._granted = {one: None for one, need in needs.items() if need}
        if sum(needs.values()) + missing_bytes <= room_bytes:
            return True
        return not self._granted and not self._is_room_coming()
