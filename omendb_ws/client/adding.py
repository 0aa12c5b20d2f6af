"""The add pipeline of one collection: which frame goes out next, and what an answer to one means.

Sans-I/O: knows frames and errors, no link and no clock; ``adder.py`` drives it. It keeps three
promises: rows go in in the order of the calls; an acknowledged row went in exactly once; and a call
whose outcome is not known says so (ConnectionLost), it never claims either way.

*Names.* Every frame has a name, (producer, number), and a name stands for one content: frames are
repeated under their name, and the server applies a name once. Numbers count 1, 2, 3 …, so several
frames can be out: where one is refused, those behind it are answered ``out_of_order``.

*Rounds.* After the first refusal nothing more is sent until everything out is answered or lost;
then ``settle`` looks at the oldest frame left, and at it only, for those behind it can only have
followed it:

=====================================  ============================================================
its answer                             what happens
=====================================  ============================================================
unavailable, may pass (overloaded, …), after a pause all are sent again, names unchanged
internal
out of order, a lower number expected  the server forgot the producer: a new one for all
not found                              the handle is opened again, once
anything else, or too many attempts    its call fails; the numbers of those behind it close up
(``unavailable`` counts as none)
=====================================  ============================================================

*Closing up.* Giving a number to another content is safe only if no sending under that number or a
higher one can still arrive from a connection that is gone (its bytes may lie unread in the server's
socket). Otherwise the frames get a new producer. And a frame that may have been applied keeps its
name or its call ends as unknown; except after a refusal of the content itself, which bars all the
higher numbers of that producer for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from omendb_core.model.errors import (
    BadFrame,
    BadId,
    BadMetadata,
    BadRequest,
    BadVector,
    DimMismatch,
    DuplicateId,
    Internal,
    NonFinite,
    NotFound,
    OmenError,
    OutOfOrder,
    StorageFailed,
    TooLarge,
    Unavailable,
    ZeroNorm,
)

from ..errors import ConnectionLost
from ..wire import messages
from .backoff import MAX_ATTEMPTS, PASSING
from .descriptions import Description
from .frames import Frame, Job

#: Bytes and frames that may be out: enough to fill the way there and back and the server's queue
#: of one tick, and small beside its ``max_inflight_bytes``.
WINDOW_BYTES = 2 * 1024 * 1024
WINDOW_FRAMES = 256
#: Connections that a frame may see closed with a code that blames a message.
MAX_BLAMES = 3
#: Refusals of what a frame holds: the same frame will be refused for ever.
CONTENT = (
    BadFrame,
    BadId,
    BadMetadata,
    BadRequest,
    BadVector,
    DimMismatch,
    DuplicateId,
    NonFinite,
    TooLarge,
    ZeroNorm,
)
#: Errors that leave the outcome open (PROTOCOL section 2).
OPEN_ENDED = (Internal, StorageFailed)


@dataclass(frozen=True, slots=True)
class Settled:
    """What to do before sending again: wait out ``pause``; ``reopen`` the collection."""

    pause: OmenError | None = None
    attempt: int = 0
    reopen: bool = False


class Pipeline:
    """Frames that wait, are under way, or are answered.

    Pure. ``new_producer`` returns a name never used before; where it
    ``fails_fast`` no refusal is waited out.
    """

    def __init__(self, new_producer: Callable[[], str], *, fails_fast: bool = False) -> None:
        self._new_producer = new_producer
        self._fails_fast = fails_fast
        self._producer = new_producer()
        self._next_number = 1
        #: The highest number of this producer that may still arrive from a connection now gone.
        self._highest_unknown = 0
        self._epoch = ""
        self._is_durable = False
        self._jobs: deque[Job] = deque()
        self._inflight: deque[Frame] = deque()
        self._again: deque[Frame] = deque()
        self._inflight_bytes = 0
        self._out = 0
        self._halted = False
        self._cut_off = False
        #: Frames acknowledged so far: that there is progress.
        self.acknowledgements = 0

    # -- calls ----------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Put a call behind those that came before."""
        self._jobs.append(job)

    def abandon(self, job: Job) -> None:
        """Forget a call: rows not sent yet never are; frames under way finish by themselves."""
        job.over = True
        if job in self._jobs:
            self._jobs.remove(job)

    def refusal(self, job: Job) -> OmenError | None:
        """What ``job`` waits out just now; None where some of its rows are under way, or may be in
        without an acknowledgement."""
        if any(one.job is job and (one.is_out or one.unknown) for one in self._inflight):
            return None
        found = self._inflight[0].refusal if self._inflight else None
        return None if found is None else _copy(found)

    def fail(self, error: OmenError) -> None:
        """End every call: with ``error``, or as unknown where rows may have gone in."""
        frames, self._inflight = list(self._inflight), deque()
        for frame in frames:
            frame.job.fail(_final(_copy(error), frame.unknown))
        for job in list(self._jobs):
            job.fail(_copy(error))
        self._jobs.clear()
        self._again.clear()
        if frames:
            self._rename([], 0)
        self._halted = self._cut_off = False

    # -- sending --------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a call waits for anything."""
        return bool(self._inflight) or bool(self._jobs)

    @property
    def must_settle(self) -> bool:
        """Whether a round has ended: something was refused, and nothing is out."""
        return self._halted and self._out == 0

    @property
    def is_cut_off(self) -> bool:
        """Whether a frame was lost with its connection since ``resume``."""
        return self._cut_off

    def opened(self, description: Description) -> None:
        """Learn what the frames sent from now on meet."""
        if self._epoch and description.epoch != self._epoch and not self._inflight:
            self._rename([], 0)  # a collection made anew knows no producers
        self._epoch = description.epoch
        self._is_durable = description.durability != "memory"

    def next_frame(self) -> Frame | None:
        """Return the frame to send now, or None: nothing to do, or no room, or a round to end."""
        if self._halted:
            return None
        while self._jobs and (self._jobs[0].over or self._jobs[0].is_cut):
            self._jobs.popleft()
        if self._again:
            frame = self._again.popleft()
        elif self._jobs and self._has_room():
            job = self._jobs[0]
            frame = Frame(job, job.cut, self._producer, self._next_number)
            self._next_number += 1
            self._inflight.append(frame)
        else:
            return None
        frame.error, frame.is_out = None, True
        self._out += 1
        return frame

    def was_sent(self, frame: Frame) -> None:
        """Count a frame that ``next_frame`` gave and that has been encoded since."""
        self._inflight_bytes += frame.size_bytes - frame.counted_bytes
        frame.counted_bytes = frame.size_bytes

    def _has_room(self) -> bool:
        return len(self._inflight) < WINDOW_FRAMES and self._inflight_bytes < WINDOW_BYTES

    # -- answers --------------------------------------------------------------------------

    def acknowledged(self, frame: Frame, added: messages.Added) -> None:
        """A frame is in; so is one that the server had already."""
        self._answered(frame)
        self._remove(frame)
        self.acknowledgements += 1
        frame.job.acknowledge(frame.rows, added, self._epoch)

    def refused(self, frame: Frame, error: OmenError) -> None:
        """A frame was refused, by the server or because it cannot be encoded."""
        self._answered(frame)
        frame.error = error
        if isinstance(error, OPEN_ENDED):
            self._mark_unknown(frame)
        self._halted = True

    def lost(self, frame: Frame, *, blamed: bool) -> None:
        """The connection went before a frame's answer came."""
        self._answered(frame)
        self._mark_unknown(frame)
        frame.blames += blamed
        self._cut_off = True

    def resume(self) -> None:
        """Begin again on a new connection: all that is left, in order, under the same names."""
        for frame in list(self._inflight):
            frame.error = None
            if frame.blames >= MAX_BLAMES:
                self._end(frame.job, _unknown("every connection broke over it"))
        self._halted = self._cut_off = False
        self._again = deque(self._inflight)

    def _answered(self, frame: Frame) -> None:
        frame.is_out = False
        self._out -= 1

    def _mark_unknown(self, frame: Frame) -> None:
        frame.unknown, frame.unknown_epoch = True, self._epoch
        if frame.producer == self._producer:
            self._highest_unknown = max(self._highest_unknown, frame.number)

    def _remove(self, frame: Frame) -> None:
        self._inflight.remove(frame)
        self._inflight_bytes -= frame.counted_bytes

    # -- the end of a round ---------------------------------------------------------------

    def settle(self) -> Settled:
        """Judge the oldest frame left (see the module) and prepare the next round."""
        wanted = [frame for frame in self._inflight if not frame.job.over]
        if len(wanted) < len(self._inflight) and not any(frame.unknown for frame in self._inflight):
            # None of these is in: those that nobody waits for any more need not go in.
            self._rename(wanted, self._inflight[0].number)
            self.resume()
            return Settled()
        head = self._inflight[0] if self._inflight else None
        error = head.error if head is not None else None
        if head is None or error is None:
            self.resume()
            return Settled()
        if isinstance(error, Unavailable) and not self._fails_fast:
            head.waits += 1
            head.refusal = error
            self.resume()
            return Settled(pause=error, attempt=head.waits)
        head.attempts += 1
        is_over = self._fails_fast and isinstance(error, PASSING)
        if head.attempts < MAX_ATTEMPTS and not is_over:
            if isinstance(error, (*PASSING, Internal)) or _contradicts(error, head.number):
                self.resume()
                return Settled(pause=error, attempt=head.attempts)
            if isinstance(error, OutOfOrder):
                return self._start_over(error)
            if isinstance(error, NotFound) and not head.reopened:
                head.reopened = True
                self.resume()
                return Settled(reopen=True)
        return self._refuse(head, error)

    def _start_over(self, error: OmenError) -> Settled:
        """Go on under a new producer: the server does not know what this one sent before.

        A frame that went unknown in this epoch may be in, and its producer forgotten. In an earlier
        epoch: then it is lost if the collection is in memory only, or if the producer is still
        known (its memory is as durable as its rows, and would hold the frame).
        """
        is_lost = not self._is_durable or error.details.get("expected") != 1
        for frame in list(self._inflight):
            if frame.unknown and (frame.unknown_epoch == self._epoch or not is_lost):
                self._end(frame.job, _unknown("the server forgot this producer"))
        self._rename(self._inflight, 0)
        self.resume()
        return Settled()

    def _refuse(self, head: Frame, error: OmenError) -> Settled:
        """End the call of ``head``; close up behind it."""
        base = head.number
        barred = isinstance(error, CONTENT)
        if error.row is not None:
            error.row += head.start
        self._end(head.job, _final(error, head.unknown))
        for frame in list(self._inflight):
            if frame.unknown and not barred:
                self._end(frame.job, _final(_copy(error), unknown=True))
        self._rename(self._inflight, base)
        self.resume()
        return Settled()

    def _end(self, job: Job, error: OmenError) -> None:
        """Fail a call and let go of its frames."""
        job.fail(error)
        for frame in [frame for frame in self._inflight if frame.job is job]:
            self._remove(frame)

    def _rename(self, frames: Iterable[Frame], base: int) -> None:
        """Make ``frames`` those in flight, numbered from ``base`` on, or from 1 of a new producer.

        None of them is in, nor can it get in under the name it had.
        """
        if base <= self._highest_unknown:
            self._producer, self._highest_unknown, base = self._new_producer(), 0, 1
        self._inflight = deque(frames)
        for number, frame in enumerate(self._inflight, base):
            frame.producer, frame.number, frame.unknown = self._producer, number, False
        self._next_number = base + len(self._inflight)
        self._inflight_bytes = sum(frame.counted_bytes for frame in self._inflight)


def _contradicts(error: OmenError, number: int) -> bool:
    """Whether a frame was called out of order although its number was the expected one, or less."""
    expected = error.details.get("expected")
    return isinstance(error, OutOfOrder) and isinstance(expected, int) and expected >= number


def _final(error: OmenError, unknown: bool) -> OmenError:
    """Return what the caller is told: ``error`` itself where it settles the outcome, or says so."""
    if not unknown or isinstance(error, (*CONTENT, *OPEN_ENDED, NotFound)):
        return error
    told = _unknown(error.message)
    told.__cause__ = error
    return told


def _unknown(why: str) -> ConnectionLost:
    return ConnectionLost(f"{why}; whether the last rows went in is unknown")


def _copy(error: OmenError) -> OmenError:
    """Return an error like this one: each caller gets its own, with its own ``rows_added``."""
    return type(error)(error.message, row=error.row, **error.details)
