"""What one measurement says: a figure of each run, the aim, what else it is to be held against."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Wanted = Literal["at most", "at least", ""]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``aim`` is wanted of the median of ``values``, if ``wanted`` says how. ``times``: how many times
    as fast this was as another in the same run, by its name. ``faults``: why it does not count,
    whatever the figure.
    """

    name: str
    unit: str
    values: Sequence[float]
    wanted: Wanted = ""
    aim: float | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def median(self) -> float | None:
        """Of the runs; None where there is no figure."""
        return statistics.median(self.values) if self.values else None

    @property
    def is_reached(self) -> bool | None:
        """Whether the aim is; None where there is none."""
        if self.aim is None:
            return None
        median = self.median
        if median is None or self.faults:
            return False
        return median <= self.aim if self.wanted == "at most" else median >= self.aim


@dataclass(frozen=True)
class Effort:
    """How much is spent on a figure: ``runs`` of ``seconds`` each; ``long_seconds`` of one run of
    what is to be held for a while."""

    runs: int = 3
    seconds: float = 3.0
    long_seconds: float = 60.0
    k: int = 10
