"""Memory that many holders share: whoever wants more asks first, and gives it back when it is free.

A server has one over ``max_memory_bytes``, and each tenant one within it: what is taken of that is
taken of the server's too. Knows numbers only: what takes so many bytes is for the holder to know.
Any thread may ask; giving back takes no lock, so that it may happen wherever an object dies, in the
middle of an ask too.

Invariant: ``taken_bytes`` is what was taken and not given back; it exceeds ``max_bytes`` only by
what was taken ``beyond`` it, or is there whatever the budget says (``settle``, ``restore``), or was
taken before ``max_bytes`` was lowered.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from .errors import Quota


class Budget:
    """A number of bytes, and how many of them are taken. ``name`` is the limit's, for refusals.

    ``within``: the larger one that it is a part of.
    """

    def __init__(self, name: str, max_bytes: int, within: Budget | None = None) -> None:
        self.name = name
        self.max_bytes = max_bytes
        self.within = within
        self._taken = 0
        self._lock = threading.Lock()
        self._returned: deque[int] = deque()

    @property
    def taken_bytes(self) -> int:
        """Bytes that holders have now."""
        with self._lock:
            return self._settled()

    def take(self, wanted_bytes: int, what: str, beyond_bytes: int = 0) -> None:
        """Take bytes, or none of them: Quota if they are not free. ``what`` wants them.

        ``beyond_bytes``: what is as good as given back, and may be taken already.
        """
        with self._lock:
            free = self.max_bytes - self._settled()
            if wanted_bytes > max(free + beyond_bytes, 0):
                raise Quota(
                    f"{self.name}: {what} {wanted_bytes} bytes more and {max(free, 0)} of"
                    f" {self.max_bytes} are free"
                )
            self._taken += wanted_bytes
        if self.within is not None:
            try:
                self.within.take(wanted_bytes, what, beyond_bytes)
            except Quota:
                self._returned.append(wanted_bytes)
                # How much of the whole is left tells what others hold.
                raise Quota(
                    f"{self.within.name}: {what} {wanted_bytes} bytes more than there are"
                ) from None

    def restore(self, wanted_bytes: int, what: str) -> None:
        """Take what was taken before a restart, whatever this one's limit is now.

        Quota if it is not free in the one that this is a part of.
        """
        if self.within is None:
            self.take(wanted_bytes, what)
            return
        self.within.restore(wanted_bytes, what)
        with self._lock:
            self._taken += wanted_bytes

    @property
    def whole(self) -> Budget:
        """The one that this is a part of; itself if it is part of none."""
        return self if self.within is None else self.within.whole

    @property
    def is_exceeded(self) -> bool:
        """Whether more is taken than there is."""
        return self.taken_bytes > self.max_bytes

    def refuse_excess(self, what: str) -> None:
        """Quota if more is taken than there is."""
        over = self.taken_bytes - self.max_bytes
        if over > 0:
            raise Quota(
                f"{self.name}: {what} {over} bytes more than the {self.max_bytes} there are"
            )

    def settle(self, more_bytes: int) -> None:
        """So many bytes more are taken already; fewer, if negative."""
        with self._lock:
            self._taken += more_bytes
        if self.within is not None:
            self.within.settle(more_bytes)

    def give_back(self, freed_bytes: int) -> None:
        """Bytes are free that were taken before."""
        self._returned.append(freed_bytes)
        if self.within is not None:
            self.within.give_back(freed_bytes)

    def _settled(self) -> int:
        """What is taken, all that was given back by now taken off."""
        while self._returned:
            self._taken -= self._returned.popleft()
        return self._taken


#: Of those who are held to none.
UNLIMITED: Final = Budget("", 2**63)


class Share:
    """What one holder has of a budget. It goes with its holder, and the memory's last reference."""

    __slots__ = ("_what", "budget", "taken_bytes")

    def __init__(self, budget: Budget, what: str) -> None:
        self.budget = budget
        self._what = what
        self.taken_bytes = 0

    def resize(self, to_bytes: int, beyond_bytes: int = 0, what: str | None = None) -> None:
        """Have so many bytes from now on. Quota, and nothing changes, if they are not free."""
        more_bytes = to_bytes - self.taken_bytes
        if more_bytes > 0:
            self.budget.take(more_bytes, what or self._what, beyond_bytes)
        elif more_bytes < 0:
            self.budget.give_back(-more_bytes)
        self.taken_bytes = to_bytes

    def restore(self, to_bytes: int) -> None:
        """Have so many bytes, as before a restart; see ``Budget.restore``."""
        self.budget.restore(to_bytes - self.taken_bytes, self._what)
        self.taken_bytes = to_bytes

    def settle(self, to_bytes: int) -> None:
        """As many bytes are held as that, whether there is room or not."""
        if to_bytes != self.taken_bytes:
            self.budget.settle(to_bytes - self.taken_bytes)
            self.taken_bytes = to_bytes

    def close(self) -> None:
        """Give everything back."""
        self.resize(0)

    def __del__(self) -> None:
        if hasattr(self, "taken_bytes"):  # not one that a fault left half made
            self.close()
