"""What was appended to a log and is not settled yet: a queue between the engine and NATS.

The engine puts in; the connection's thread takes out, and settles. Both under one lock, held for
moments. Invariant: tags are settled in the order of their appends, each once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from omendb_core.model.errors import Internal, OmenError, StorageFull, Unavailable

from ...runtime.faults import as_error
from ..interface import Settle
from ..local.groups import Queued

_Result = TypeVar("_Result")

#: How much may wait in front of one log; as the local journal has it.
MAX_PENDING_BYTES: Final = 8 << 20


class Waiting:
    """The queue of one log. ``settlements`` counts groups that were settled as safe.

    ``must_rewind``: something was refused, and the engine has not put its admission back yet. It is
    set before anybody hears of a refusal, who may answer at once.
    """

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self.lock = threading.Lock()
        self.queue: deque[Queued] = deque()
        self.pending_bytes = 0
        self.settlements = 0
        self.must_rewind = False

    @property
    def has_room(self) -> bool:
        """Whether another change may be admitted."""
        return self.pending_bytes < MAX_PENDING_BYTES

    def put(self, queued: Queued, wake: Callable[[], None], *, always: bool) -> None:
        """Put one in, and wake who sends: if it is the only one there, or ``always``."""
        with self.lock:
            self.queue.append(queued)
            self.pending_bytes += queued[2]
            is_first = len(self.queue) == 1
        if is_first or always:
            try:
                wake()
            except Exception as fault:  # it is there by now
                as_error(fault, "waking who sends changes")
                wake()

    def settled(self, queued: list[Queued]) -> None:
        """These are safe. They are taken out of ``queued``."""
        self._settle_those(queued, None)

    def refuse(self, queued: list[Queued], error: OmenError) -> None:
        """Nobody is told that these are in the log. They are taken out of ``queued``."""
        self._settle_those(queued, error)

    def refuse_queued(self, why: OmenError) -> None:
        """Refuse all that is in the queue, of which nothing is in the log."""
        with self.lock:
            gone = list(self.queue)
            self.queue.clear()
        self.refuse(gone, _refusal(why))

    def refuse_all(self, sent: list[Queued], why: OmenError, *, is_decided: bool) -> None:
        """Refuse what was sent, and all in the queue, of which nothing is in the log.

        ``is_decided``: nor is anything of what was sent.
        """
        unknown = f"{why.message} (whether the change was done is unknown)"
        self.refuse(sent, _refusal(why) if is_decided else Internal(unknown))
        self.refuse_queued(why)

    def refuse_first(self, error: OmenError) -> None:
        """Refuse what would come next."""
        with self.lock:
            first = self.queue.popleft()
        self.refuse([first], error)

    def tell(self, error: OmenError | None) -> None:
        """Settle nothing: tell what became of the log, or that there is room."""
        _twice(lambda: self._settle([], error))

    def _settle_those(self, queued: list[Queued], error: OmenError | None) -> None:
        tags = _twice(lambda: self._taken_out(queued))
        if not tags:
            return
        if error is None:
            self.settlements += 1
        else:
            self.must_rewind = True
        _twice(lambda: self._settle(tags, error))

    def _taken_out(self, queued: list[Queued]) -> list[Any]:
        """Count them off, once however often it is asked for; their tags."""
        tags, size_bytes = _tags_of(queued), sum(size for _, _, size in queued)
        with self.lock:
            self.pending_bytes -= size_bytes
            queued.clear()
        return tags


def _twice(work: Callable[[], _Result]) -> _Result:
    """What ``work`` returns; done once more where it fails: somebody waits for what is settled."""
    try:
        return work()
    except Exception as fault:
        as_error(fault, "settling changes")
        return work()


def _refusal(why: OmenError) -> OmenError:
    """What a change is refused with that is not in the log: it may be tried again."""
    kind = StorageFull if isinstance(why, StorageFull) else Unavailable
    return kind(why.message)


def _tags_of(queued: Sequence[Queued]) -> list[Any]:
    """Whose answer waits: changes have a tag, what a log writes by itself has none."""
    return [tag for _, tag, _ in queued if tag is not None]
