"""One ``advance`` of standing queries: what is still to be done of it, and what it found."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from ..model.types import F32, I64, U64, Bool1
from .lists import Lists

NONE: Final = np.empty(0, np.int64)
NO_SEQS: Final = np.empty(0, np.uint64)
#: Hits of match queries: handles, seqs, scores.
MatchHits: TypeAlias = tuple[I64, U64, F32]
NO_HITS: Final[MatchHits] = (NONE, NO_SEQS, np.empty(0, np.float32))


class Advance(NamedTuple):
    """What one ``advance`` found.

    ``changed`` int64: handles of live queries whose answer may show a change. ``matched`` int64,
    ``seqs`` uint64, ``scores`` float32 (m,): match queries, and the rows that reached them, by seq.
    """

    changed: I64
    matched: I64
    seqs: U64
    scores: F32


class Matched(NamedTuple):
    """How many of the rows were matched, and which of them match queries take."""

    rows: int
    hits: MatchHits


class Round:
    """An ``advance`` that has begun: what is still to be done of it, and what was found.

    In this order: ``drops``, lists and those of their rows that are looked through for who left;
    ``new`` and ``updated``, slots int64 of rows that are matched, ``matching`` the first of them
    now; ``to_cut``, handles int64 of
    queries; ``renewing``, lists that are made anew; ``to_publish``, handles int64 (None before all
    else is done). ``is_gone`` and ``is_updated`` mark
    rows by their offset from ``first_offset``; ``touched`` bool by handle; ``holds_updated`` are
    handles whose list held an updated row, and ``changed`` those that had another answer.
    """

    def __init__(self, handles: int, first_offset: int) -> None:
        self.first_offset = first_offset
        self.is_gone: Bool1 | None = None
        self.is_updated: Bool1 | None = None
        self.drops: list[tuple[Lists, I64, I64]] = []
        self.new = self.updated = NONE
        self.matching: Generator[float, None, Matched] | None = None
        self.to_cut: I64 | None = None
        self.to_publish: I64 | None = None
        self.renewing: Generator[None, None, I64] | None = None
        self.is_through = False
        self.touched: Bool1 = np.zeros(handles, np.bool_)
        self.matched: list[MatchHits] = []
        self.holds_updated: list[I64] = []
        self.changed: list[I64] = []


def joined(parts: list[U64]) -> U64:
    """Seqs, one after the other."""
    return np.concatenate(parts) if parts else NO_SEQS


def together(parts: list[MatchHits]) -> MatchHits:
    """Hits, one after the other."""
    if len(parts) < 2:
        return parts[0] if parts else NO_HITS
    handles, seqs, scores = zip(*parts, strict=True)
    return np.concatenate(handles), np.concatenate(seqs), np.concatenate(scores)
