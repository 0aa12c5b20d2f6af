"""Which rows the queries of one call mean, as words of bits; equal ones are made once."""

from __future__ import annotations

import numpy as np

from ..filters.parser import Filter
from ..model.types import I64, U64
from ..state import WindowState


class Masks:
    """The distinct masks of one call, as rows of ``words``."""

    def __init__(self, state: WindowState) -> None:
        self._state = state
        self._numbers: dict[tuple[str, int], int] = {}
        self.words: list[U64] = []

    def number(self, filter_: Filter | None, last: int | None) -> int:
        """The place in ``words`` of the mask of live rows that pass, among the ``last`` newest."""
        state = self._state
        first_seq = state.first_seq
        if last is not None:
            first_seq = max(first_seq, state.last_seq - last + 1)
        key = (filter_.canonical if filter_ is not None else "", first_seq)
        if key not in self._numbers:
            words = state.ring.live_words
            if first_seq > state.first_seq:
                words = words & state.ring.words_from(first_seq)
            if filter_ is not None:
                words = words & state.masks.words(filter_)
            self._numbers[key] = len(self.words)
            self.words.append(words)
        return self._numbers[key]

    def without(self, number: int, slots: I64) -> int:
        """The place of a mask of its own: that of ``number``, but for the rows in ``slots``."""
        words = self.words[number].copy()
        bits = np.uint64(1) << (slots & 63).astype(np.uint64)
        np.bitwise_and.at(words, slots >> 6, ~bits)
        self.words.append(words)
        return len(self.words) - 1

    def rows(self, number: int) -> int:
        """How many rows a mask holds."""
        return int(np.bitwise_count(self.words[number]).sum())
