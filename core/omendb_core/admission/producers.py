"""Which batches of which producers a window has: what makes a retried add safe.

Owned by ``admission.py``. A producer's batches count 1, 2, 3 …; only the next one is new
(PROTOCOL section 4). Bounded: beyond ``limit`` producers the longest silent one is forgotten, and
of each only the last ``REMEMBERED_BATCHES`` keep their seqs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..model.change import Repeated
from ..model.errors import OutOfOrder

#: A client keeps a handful of frames in flight and repeats those after a reconnect.
REMEMBERED_BATCHES: Final = 16
#: What one takes: its name, the dict's entry, the deque's block (800), 16 pairs of integers (128).
_PRODUCER_BYTES: Final = 3072


@dataclass(slots=True)
class _Producer:
    last_batch: int = 0
    seqs: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))


class Producers:
    """producer -> last accepted batch, in order of these."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, _Producer] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes at most."""
        return _PRODUCER_BYTES * len(self._known)

    def growth(self, name: str | None) -> int:
        """Bytes more that it takes with a batch of this producer; None: of nobody."""
        is_new = name is not None and name not in self._known and len(self) < self._limit
        return _PRODUCER_BYTES if is_new else 0

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
        back = known.last_batch - batch
        if back < len(known.seqs):
            first_seq, last_seq = known.seqs[-1 - back]
            if first_seq <= last_seq:  # else no row of it went in
                return Repeated(first_seq, last_seq)
        return Repeated(None, None)

    def accept(self, name: str, batch: int, first_seq: int, last_seq: int) -> None:
        """Remember a batch that became a change; forgets the longest silent producer if full.

        One of which no row went in has a last seq below its first one.
        """
        known = self._known.pop(name, None) or _Producer()
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        known.last_batch = batch
        known.seqs.append((first_seq, last_seq))
        self._known[name] = known

    def resume(self, state: Sequence[tuple[str, int, Sequence[tuple[int, int]]]]) -> None:
        """Remember what ``state`` says, as far as the limit goes, and nothing else."""
        self._known = {}
        for name, last_batch, seqs in state[-self._limit :]:
            producer = self._known[name] = _Producer(last_batch)
            producer.seqs.extend(seqs)

    def state(self) -> list[tuple[str, int, tuple[tuple[int, int], ...]]]:
        """Everything remembered, longest silent first; comparable."""
        return [(name, p.last_batch, tuple(p.seqs)) for name, p in self._known.items()]
