"""Why a session hears nothing for a while, and what came meanwhile.

A request whose work on the loop is done in pieces, or that waits for somebody else, *holds* its
session: messages that come behind it, in one event, wait until nothing holds it. Lives on the
loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..wire.messages import Said
from .long_work import LongRequests, Steps


class Hold:
    """One of them."""

    __slots__ = ("_holds",)

    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self not in self._holds.bytes_of

    def end(self) -> None:
        """What came behind is heard, if nothing else holds it. After a fault, call it again."""
        self._holds.bytes_of.pop(self, None)
        self._holds.go_on()


class Holds:
    """Those of a session. ``went_on`` is called when one has ended.

    ``bytes_of``: of the request of each, empty as a rule.
    """

    def __init__(self, long_requests: LongRequests, went_on: Callable[[], None]) -> None:
        self._long_requests = long_requests
        self._went_on = went_on
        self.bytes_of: dict[Hold, int] = {}
        self.behind: deque[Said] = deque()
        self.hear: Callable[[Said], None] = lambda _: None
        self._is_hearing = False

    def begin(self, request_bytes: int) -> Hold:
        """Hear nothing before it ends."""
        hold = Hold(self)
        self.bytes_of[hold] = request_bytes
        return hold

    def do(self, steps: Steps, request_bytes: int, failed: Callable[[Exception], None]) -> None:
        """Do ``steps`` beside others' work, and hear nothing before they are done.

        ``failed`` is told of a fault that they did not see; if it faults, once more.
        """
        hold = Hold(self)

        def held() -> Steps:
            try:
                yield from steps
            finally:
                hold.end()

        def told(error: Exception) -> None:
            failed(error)
            hold.end()

        self._long_requests.begin(held(), told)
        self.bytes_of[hold] = request_bytes

    def go_on(self) -> None:
        """Hear what came behind, as far as nothing holds it.

        Within what is being heard nothing else is: else each hold that ends at once would take
        some of the stack, and what is behind it would be heard in the middle of it.
        """
        if self._is_hearing:
            return
        self._is_hearing = True
        try:
            while self.behind and not self.bytes_of:
                self.hear(self.behind.popleft())
        finally:
            self._is_hearing = False
        self._went_on()

    def clear(self) -> None:
        """The connection is gone: what came and was not heard is forgotten."""
        self.behind.clear()
        self.hear = lambda _: None
