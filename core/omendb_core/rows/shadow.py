"""The int8 shadow of a ring: a byte a dimension, so that a scan reads a quarter of the memory.

It only finds candidates; ``score`` decides. ``native/shadow.h`` says what the arrays hold, and
``native/bounds.c`` why no row is missed. The ring owns it and writes to it; scans read.

Rows are quantised around a centre. While that is the origin, data far from it (1000 ± 1) is told
apart badly: all its 256 steps go into the offset. So the centre is moved to the middle of the rows
when that pays, which quantises all of them anew: 5 ms for 100,000 × 128. Whether it pays is looked
at when the rows have doubled, and once a lap from then on.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..model.types import F32, F64, I64, U8, Metric
from .memory import ALIGNMENT_BYTES, GrowingArray, aligned_zeros

#: Rows beyond this many dimensions have no shadow: bounds hold up to here (``native/shadow.h``).
MAX_DIM: Final = 4096
_METRIC_CODES: Final[dict[Metric, int]] = {"dot": 0, "cosine": 1, "l2": 2}
_GROUP_ROWS: Final = 16
_BLOCK_GROUPS: Final = 4
_BLOCK_ROWS: Final = _GROUP_ROWS * _BLOCK_GROUPS
_STEP_DIMS: Final = 4
_FACTORS: Final = 3
_COARSE_FACTORS: Final = 4
#: Scans of fewer rows take some 50 µs, whatever is read first.
_LEAST_NIBBLE_ROWS: Final = 32_768
#: Rows that are looked at to find the middle.
_SAMPLE: Final = 256
#: A new centre pays if it makes the steps of the quantisation smaller than this part of theirs.
_PAYS: Final = 0.75
#: Rows quantised in one call: other threads may run in between.
_ROWS_AT_ONCE: Final = 4096


class Shadow:
    """The shadow of a ring of ``capacity`` rows of ``dim`` float32, scored by ``metric``.

    ``codes`` uint8 (groups, steps, 16, 4), ``factors`` float32 (groups, 3, 16), 64-byte aligned
    as all are but ``centre`` float32 (dim,). ``nibbles``, if there are any: the same rows told
    more coarsely, uint8 (blocks, coarse steps, 64, 4) and float32 (groups, 4, 16).
    """

    def __init__(
        self, capacity: int, dim: int, metric: Metric, *, has_nibbles: bool = False
    ) -> None:
        groups, steps = _groups(capacity), _steps(dim)
        self.capacity = capacity
        #: The metric as the extension takes it.
        self.metric_code = _METRIC_CODES[metric]
        self.codes: U8 = aligned_zeros((groups, steps, _GROUP_ROWS, _STEP_DIMS), np.uint8)
        self.factors: F32 = aligned_zeros((groups, _FACTORS, _GROUP_ROWS), np.float32)
        self.nibbles: tuple[U8, F32] | None = None
        if has_nibbles:
            self.nibbles = (
                aligned_zeros(
                    (groups // _BLOCK_GROUPS, _coarse_steps(dim), _BLOCK_ROWS, _STEP_DIMS), np.uint8
                ),
                aligned_zeros((groups, _COARSE_FACTORS, _GROUP_ROWS), np.float32),
            )
        self.centre: F32 = np.zeros(dim, np.float32)
        self._metric: Metric = metric
        self._written = 0
        self._look_at = _SAMPLE

    @staticmethod
    def bytes_for(capacity: int, dim: int, *, has_nibbles: bool = False) -> int:
        """Bytes that a shadow of this size reserves."""
        arrays, row_bytes = 2, _steps(dim) * _STEP_DIMS + _FACTORS * 4
        if has_nibbles:
            arrays, row_bytes = 4, row_bytes + _coarse_steps(dim) * _STEP_DIMS + _COARSE_FACTORS * 4
        return _groups(capacity) * _GROUP_ROWS * row_bytes + arrays * ALIGNMENT_BYTES + 4 * dim

    @property
    def nbytes(self) -> int:
        """Bytes reserved, committed or not."""
        has_nibbles = self.nibbles is not None
        return self.bytes_for(self.capacity, len(self.centre), has_nibbles=has_nibbles)

    @property
    def arrays(self) -> tuple[U8, F32, tuple[U8, F32] | None, F32, int]:
        """What ``native.append`` writes to."""
        return self.codes, self.factors, self.nibbles, self.centre, self.metric_code

    def part(self, first: int, stop: int) -> Shadow:
        """That of the slots ``first … stop - 1``, as ``Ring.part`` has them."""
        part = copy(self)
        part.capacity = stop - first
        part.codes, part.factors = (
            _part_of(one, first, stop) for one in (self.codes, self.factors)
        )
        if self.nibbles is not None:
            codes, factors = self.nibbles
            part.nibbles = _part_of(codes, first, stop), _part_of(factors, first, stop)
        return part

    def write(self, first: int, rows: F32) -> None:
        """Keep ``rows`` float32 (n, dim) for the slots from ``first`` on."""
        native.compiled.shadow_write(
            self.codes,
            self.factors,
            self.nibbles,
            self.centre,
            self.capacity,
            self.metric_code,
            first,
            rows,
        )

    def note_written(self, count: int, rows: F32) -> None:
        """So many rows were written; ``rows`` (used, dim) is all that the ring holds now.

        Now and then this moves the centre.
        """
        self._written += count
        if self._written < self._look_at:
            return
        self._look_at = self._written + min(self._written, self.capacity)
        sample = rows[:: -(-len(rows) // _SAMPLE)].astype(np.float64)
        middle = sample.mean(axis=0).astype(np.float32)
        if _width(sample, middle) < _PAYS * _width(sample, self.centre):
            self.move_centre(middle, rows)

    def move_centre(self, centre: F32, rows: F32) -> None:
        """Quantise ``rows`` (used, dim) around another centre. No scan may run meanwhile."""
        self.centre = centre
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            self.write(start, rows[start : start + _ROWS_AT_ONCE])

    def check(self, rows: F32, slots: I64) -> None:
        """Raise AssertionError unless ``slots`` hold what ``rows`` (used, dim) make of them."""
        has_nibbles = self.nibbles is not None
        other = Shadow(self.capacity, rows.shape[1], self._metric, has_nibbles=has_nibbles)
        other.centre = self.centre
        other.write(0, rows)
        held = self.codes, self.factors, *(self.nibbles or ())
        anew = other.codes, other.factors, *(other.nibbles or ())
        for mine, made in zip(held, anew, strict=True):
            rows_together = mine.shape[2]
            groups, places = slots // rows_together, slots % rows_together
            kept, expected = (array.swapaxes(1, 2)[groups, places] for array in (mine, made))
            assert np.array_equal(kept, expected), "the shadow is not its rows'"


class GrowingShadow(Shadow):
    """The shadow of rows that become more; see ``GrowingArray``."""

    def __init__(self, dim: int, metric: Metric) -> None:
        super().__init__(0, dim, metric)
        self._all_codes = GrowingArray(self.codes.shape[1:], np.uint8)
        self._all_factors = GrowingArray(self.factors.shape[1:], np.float32)

    def fit(self, capacity: int) -> None:
        """Have room for so many rows; what is there stays."""
        groups = _groups(capacity)
        self.codes, self.factors = self._all_codes.fit(groups), self._all_factors.fit(groups)
        self.capacity = capacity


def _part_of(array: NDArray[Any], first: int, stop: int) -> NDArray[Any]:
    """What an array of a shadow has for the slots ``first … stop - 1``, in whole blocks."""
    rows_together = array.shape[2]
    end = _groups(stop) * _GROUP_ROWS
    return array[first // rows_together : end // rows_together]


def _width(sample: F64, centre: F32) -> float:
    """The mean of the rows' largest distances from the centre along a dimension."""
    return float(np.abs(sample - centre).max(axis=1).mean())


def _groups(capacity: int) -> int:
    """Groups of 16 rows, in whole blocks of 64."""
    return -(-capacity // _BLOCK_ROWS) * _BLOCK_GROUPS


def _steps(dim: int) -> int:
    return -(-dim // _STEP_DIMS)


def _coarse_steps(dim: int) -> int:
    return -(-dim // (2 * _STEP_DIMS))


def worth_nibbles(capacity: int) -> bool:
    """Whether a ring of this capacity keeps them: each costs half of the codes' memory."""
    return capacity >= _LEAST_NIBBLE_ROWS
