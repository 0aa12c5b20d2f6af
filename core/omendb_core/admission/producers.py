"""Which batches of which producers a window has: what makes a retried add safe.

Owned by ``admission.py``. A producer's batches count 1, 2, 3 …; only the next one is new
(PROTOCOL section 4). Bounded: beyond ``limit`` producers the longest silent one is forgotten, and
of each only the last ``REMEMBERED_BATCHES`` keep their seqs.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..model.change import Repeated
from ..model.errors import OutOfOrder
from ..model.logged import ProducerState

#: A client keeps a handful of frames in flight and repeats those after a reconnect.
REMEMBERED_BATCHES: Final = 16
_SEQS: Final = 2 * REMEMBERED_BATCHES
#: What one takes besides its name, by how a process grows with 10,000 to 20,000 of them: 256 bytes
#: of seqs, three objects, the dict's entry. As pairs in a deque, 1.1 KB at first, and then up to 4.
_PRODUCER_BYTES: Final = 512


@dataclass(slots=True)
class _Producer:
    """``seqs``: the first and the last seq of a batch, each at the place of its number."""

    last_batch: int = 0
    remembered: int = 0
    seqs: array[int] = field(default_factory=lambda: array("Q", bytes(8 * _SEQS)))

    def remember(self, batch: int, first_seq: int, last_seq: int) -> None:
        place = 2 * batch % _SEQS
        self.seqs[place], self.seqs[place + 1] = first_seq, last_seq
        self.last_batch = batch
        self.remembered = min(self.remembered + 1, REMEMBERED_BATCHES)

    def seqs_of(self, batch: int) -> tuple[int, int] | None:
        """What a batch up to the last one got; None: it is too long ago."""
        if self.last_batch - batch >= self.remembered:
            return None
        place = 2 * batch % _SEQS
        return self.seqs[place], self.seqs[place + 1]

    def all_seqs(self) -> Iterator[tuple[int, int]]:
        """Of the batches that are remembered, oldest first."""
        for batch in range(self.last_batch - self.remembered + 1, self.last_batch + 1):
            place = 2 * batch % _SEQS
            yield self.seqs[place], self.seqs[place + 1]


def _bytes_of(name: str) -> int:
    return _PRODUCER_BYTES + sys.getsizeof(name)


class Producers:
    """producer -> last accepted batch, in order of these."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, _Producer] = {}
        #: What they take.
        self.nbytes = 0
        #: Called with the name of a producer just before something else is known of it.
        self.watchers: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        return len(self._known)

    def growth(self, name: str | None) -> int:
        """Bytes more that it takes with a batch of this producer; None: of nobody."""
        if name is None or name in self._known:
            return 0
        # The place of the longest silent one may be that of a shorter name.
        return _bytes_of(name) if len(self) < self._limit else sys.getsizeof(name)

    def look(self, name: str, batch: int) -> Repeated | None:
        """What is known of this batch; None if it is the next one.

        Raises OutOfOrder, with ``expected``, for one further on. Changes nothing: what is
        remembered, the order of silence too, is a function of the changes, and a log gives it back.
        """
        known = self._known.get(name)
        if known is None:
            if batch != 1:
                raise OutOfOrder(f"batch {batch} of a producer not known here", expected=1)
            return None
        if batch > known.last_batch + 1:
            raise OutOfOrder(
                f"batch {batch} after batch {known.last_batch}", expected=known.last_batch + 1
            )
        if batch == known.last_batch + 1:
            return None
        found = known.seqs_of(batch)
        if found is None or found[0] > found[1]:  # then no row of it went in
            return Repeated(None, None)
        return Repeated(*found)

    def accept(self, name: str, batch: int, first_seq: int, last_seq: int) -> None:
        """Remember a batch that became a change; forgets the longest silent producer if full.

        One of which no row went in has a last seq below its first one.
        """
        for tell in self.watchers:
            tell(name)
        known = self._known.pop(name, None)
        if known is None:
            known = _Producer()
            self.nbytes += _bytes_of(name)
        if len(self._known) >= self._limit:
            silent = next(iter(self._known))
            for tell in self.watchers:
                tell(silent)
            del self._known[silent]
            self.nbytes -= _bytes_of(silent)
        known.remember(batch, first_seq, last_seq)
        self._known[name] = known

    def resume(self, state: Sequence[ProducerState]) -> None:
        """Remember what ``state`` says, as far as the limit goes, and nothing else."""
        for tell in self.watchers:
            for name in self._known:
                tell(name)
        self._known = {}
        for name, last_batch, seqs in state[-self._limit :]:
            producer = self._known[name] = _Producer(last_batch)
            for batch, (first_seq, last_seq) in enumerate(seqs, last_batch - len(seqs) + 1):
                producer.remember(batch, first_seq, last_seq)
        self.nbytes = sum(map(_bytes_of, self._known))

    def state(self) -> list[ProducerState]:
        """Everything remembered, longest silent first; comparable."""
        return [self.state_of(name) for name in self._known]

    def names(self) -> list[str]:
        """Who is remembered, longest silent first."""
        return list(self._known)

    def state_of(self, name: str) -> ProducerState:
        """What is remembered of one."""
        known = self._known[name]
        return name, known.last_batch, tuple(known.all_seqs())
