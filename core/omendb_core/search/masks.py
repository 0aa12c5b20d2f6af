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
        self._first_seq = state.first_seq
        self._numbers: dict[tuple[str, int], int] = {}
        self.words: list[U64] = []

    def number(self, filter_: Filter | None, last: int | None) -> int:
        """The place in ``words`` of the mask of live rows that pass, among the ``last`` newest."""
        state, first_seq = self._state, self._first_seq
        if last is not None:
            first_seq = max(first_seq, state.last_seq - last + 1)
        key = (filter_.canonical if filter_ is not None else "", first_seq)
        number = self._numbers.get(key)
        if number is None:
            words = state.ring.live_words
            if first_seq > self._first_seq:
                words = words & state.ring.words_from(first_seq)
            if filter_ is not None:
                words = words & state.masks.words(filter_)
            number = self._numbers[key] = len(self.words)
            self.words.append(words)
        return number

    def without(self, number: int, slots: I64) -> int:
        """The place of a mask of its own: that of ``number``, but for the rows in ``slots``."""
        words = self.words[number]
        gone = np.zeros(64 * len(words), np.bool_)
        gone[slots] = True
        self.words.append(words & ~np.packbits(gone, bitorder="little").view(np.uint64))
        return len(self.words) - 1

    def together(self, numbers: list[int]) -> tuple[U64, I64]:
        """The distinct masks of ``numbers``, (m, words), and int64 (n,): which of them each is."""
        if len(self.words) == 1 or numbers.count(numbers[0]) == len(numbers):
            return self.words[numbers[0]][None], np.zeros(len(numbers), np.int64)
        distinct, which = np.unique(numbers, return_inverse=True)
        return np.stack([self.words[number] for number in distinct.tolist()]), which

    def rows(self, number: int) -> int:
        """How many rows a mask holds."""
        return int(np.bitwise_count(self.words[number]).sum())
