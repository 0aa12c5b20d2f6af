"""How far a reader of a stream of rows has come: a seq, or one of each shard. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..wire.messages import JsonObject
from .answers import FeedRows


@dataclass(frozen=True, slots=True)
class Cursor:
    """``to_seq`` of a collection, or ``to_seqs`` of its shards; neither before the start."""

    to_seq: int | None = None
    to_seqs: tuple[int, ...] = ()

    @classmethod
    def at(cls, from_seq: int | list[int] | None) -> Self:
        """Before these rows."""
        if isinstance(from_seq, list):
            return cls(None, tuple(one - 1 for one in from_seq))
        return cls(None if from_seq is None else from_seq - 1)

    @classmethod
    def begun(cls, ok: JsonObject) -> Self:
        """Where the reply to a subscription says that it begins."""
        return cls(ok.get("to_seq"), tuple(ok.get("to_seqs", ())))

    @classmethod
    def of(cls, rows: FeedRows) -> Self:
        """Behind a step."""
        return cls(None, rows.to_seqs) if rows.to_seqs else cls(rows.to_seq)

    @property
    def is_set(self) -> bool:
        """Whether it is known where to go on."""
        return self.to_seq is not None or bool(self.to_seqs)

    @property
    def first_seq(self) -> int:
        """The first row that is not delivered, of any shard."""
        return (min(self.to_seqs) if self.to_seqs else self.to_seq or 0) + 1

    def fields(self) -> dict[str, Any]:
        """What a request says of where to go on."""
        if self.to_seqs:
            return {"from_seqs": [one + 1 for one in self.to_seqs]}
        return {"from_seq": None if self.to_seq is None else self.to_seq + 1}

    def behind(self, rows: FeedRows) -> Cursor:
        """Once these were delivered."""
        if rows.shard is None:
            return Cursor(rows.to_seq)
        to_seqs = list(self.to_seqs)
        to_seqs[rows.shard] = rows.to_seq
        return Cursor(None, tuple(to_seqs))

    def anew(self) -> Cursor:
        """Before the first row of a new epoch."""
        return Cursor(None, (0,) * len(self.to_seqs)) if self.to_seqs else Cursor(0)
