"""What was admitted to a window and is not applied yet, as far as admission must know it.

An add is admitted whatever is ahead of it. A delete or an update looks rows up, and may do so while
only deletes, updates and expiries are ahead: none of them brings a row, and those that they take
out are known here. Owned by ``admission.py``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..model.change import Change, DeleteChange, ExpireChange
from ..model.types import U64, Bool1


class Coming(NamedTuple):
    """Bytes that a change brings: of payloads (``max_payload_bytes``), and of memory that these,
    and all else of its rows that is not reserved, take."""

    payload: int
    taken: int


NOTHING: Final = Coming(0, 0)


class Pending:
    """What pending changes are about to do, by the version of each; empty as a rule."""

    def __init__(self) -> None:
        self._coming: dict[int, Coming] = {}
        self._dying: dict[int, U64] = {}
        self._horizons: dict[int, int] = {}

    @property
    def coming(self) -> Coming:
        """What comes, those that leave for it not counted."""
        if not self._coming:
            return NOTHING
        return Coming(*map(sum, zip(*self._coming.values(), strict=True)))

    def admitted(self, change: Change, coming: Coming = NOTHING) -> None:
        """A change was admitted that brings so much."""
        if coming.taken:
            self._coming[change.version] = coming
        if isinstance(change, DeleteChange):
            self._dying[change.version] = change.seqs
        elif isinstance(change, ExpireChange):
            self._horizons[change.version] = change.first_seq

    def applied(self, version: int) -> None:
        """The change of that version is applied."""
        self._coming.pop(version, None)
        self._dying.pop(version, None)
        self._horizons.pop(version, None)

    def clear(self) -> None:
        """What was admitted will never be applied."""
        self._coming.clear()
        self._dying.clear()
        self._horizons.clear()

    def is_dying(self, seqs: U64) -> Bool1:
        """Which of these live rows (n,) a change ahead takes out, by its seq."""
        dying = seqs < np.uint64(max(self._horizons.values(), default=0))
        if self._dying:
            dying |= np.isin(seqs, np.concatenate(list(self._dying.values())))
        return dying
