"""What one principal is told by its feeds, matches, novel queries and counts, held to what it sees.

``Told`` is one subscription. What it should be told comes from the windows that its principal saw
at each version (``tests.oracle.grants``), and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from omendb_ws.wire.messages import Rows
from tests.filter_oracle import passes
from tests.oracle import Oracle, Row
from tests.oracle.numbers import f32, score, stored
from tests.oracle.shaping import counts

from .live_view import Row as SeenRow
from .live_view import rows_of

#: version -> the window as the principal saw it.
States = Mapping[int, Oracle]


@dataclass
class Told:
    """``began``: the first seq that comes as it is added; ``births``: seq -> version of its add."""

    kind: str
    sub: int
    fields: dict[str, Any]
    ids: str
    to_seq: int
    began: int
    version: int
    rows: dict[int, SeenRow] = field(default_factory=dict)
    near: dict[int, Any] = field(default_factory=dict)
    missed: set[int] = field(default_factory=set)

    @property
    def include(self) -> list[str]:
        found: list[str] = self.fields.get("include", [])
        return found

    def apply(self, event: Any, states: States, births: Mapping[int, int]) -> None:
        """Take a push, or a gap."""
        if isinstance(event, dict) and event["event"] == "gap":
            assert self.to_seq < event["from_seq"] <= event["to_seq"]
            self.missed |= set(range(event["from_seq"], event["to_seq"] + 1))
            self.to_seq = event["to_seq"]
            return
        version, to_seq, found, near = self._read(event)
        assert version >= self.version
        assert found or to_seq > self.to_seq, "a push that says nothing"
        last = self.to_seq
        self.version, self.to_seq = version, to_seq
        for row, nearest in zip(found, near, strict=True):
            assert last < row.seq <= to_seq
            last = row.seq
            self._check(row, nearest, states, births)
            self.rows[row.seq] = row

    def _read(self, event: Any) -> tuple[int, int, list[SeenRow], list[Any]]:
        if isinstance(event, Rows):
            assert event.kind == self.kind
            hits = event.hits
            found = rows_of(hits, self.ids) if self.kind != "feed" else _unscored(hits, self.ids)
            near = list(hits.near) if hits.near is not None else [None] * len(found)
            return event.version, event.to_seq, found, [self._id(one) for one in near]
        assert event["event"] == self.kind, event
        rows = [{"score": 0.0, **one} for one in event["rows"]]
        for one in rows:
            one["score"] = -math.inf if one["score"] is None else one["score"]
        near = [self._id(one.get("near")) for one in rows]
        return event["version"], event["to_seq"], rows_of(rows, self.ids), near

    def _id(self, given: Any) -> Any:
        return given if given is None or self.ids == "str" else int(given)

    def _check(self, row: SeenRow, near: Any, states: States, births: Mapping[int, int]) -> None:
        """It is there for this principal at the version of the push, and why it is told."""
        state = states[self.version]
        assert row.seq in state.rows, "a row that is dead, or not there for this principal"
        there = state.rows[row.seq]
        assert row.id == there.id
        assert self._passes(there)
        assert row.metadata == (there.metadata if "metadata" in self.include else None)
        assert row.vector == (there.vector if "vector" in self.include else None)
        if self.kind == "match":
            wanted = score(state.metric, there.vector, self._target(state))
            assert row.score == wanted >= f32(self.fields["min_score"])
        elif self.kind == "novel":
            found = self.best(there, states, births)
            assert (row.score, near) == found, (row, found)
            assert self._is_new(found[0])

    def _passes(self, row: Row) -> bool:
        return passes(self.fields.get("filter", {}), row.metadata)

    def _target(self, state: Oracle) -> list[float]:
        return stored(state.metric, self.fields["vector"])

    def _is_new(self, best: float) -> bool:
        return best < f32(self.fields["below"]) or best == -math.inf

    def best(self, row: Row, states: States, births: Mapping[int, int]) -> tuple[float, Any]:
        """The best score of a row against those before it, and whose it is."""
        if row.seq < self.began:  # compared as the push was built
            others = [one for one in states[self.version].rows.values() if one.seq < row.seq]
        else:
            born = births[row.seq]
            before = states[born - 1].rows.values()
            others = [one for one in before if one.id != row.id]
            together = states[born].rows.values()
            others += [one for one in together if births[one.seq] == born and one.seq < row.seq]
        last = self.fields.get("last")
        metric = states[self.version].metric
        found = [
            (score(metric, one.vector, row.vector), one.seq, one.id)
            for one in others
            if self._passes(one) and (last is None or one.seq >= row.seq - last)
        ]
        nearest = max(found, key=lambda one: one[:2], default=None)
        return (-math.inf, None) if nearest is None else (nearest[0], nearest[2])

    def is_current(self, states: States, births: Mapping[int, int]) -> bool:
        """Whether it was told of every row that was there for it from its add on until now."""
        now = max(births.values(), default=0), max(states)
        state = states[now[1]]
        for row in state.rows.values():
            if row.seq in self.rows or row.seq in self.missed or row.seq < self.fields["begins"]:
                continue
            if not self._was_always_there(row, states, births):
                continue
            if self.kind == "match":
                is_wanted = score(state.metric, row.vector, self._target(state)) >= f32(
                    self.fields["min_score"]
                )
            elif self.kind == "novel":
                is_wanted = row.seq >= self.began and self._is_new(
                    self.best(row, states, births)[0]
                )
            else:
                is_wanted = True
            if is_wanted:
                return False
        return True

    def _was_always_there(self, row: Row, states: States, births: Mapping[int, int]) -> bool:
        first = max(births[row.seq], self.fields["since"])
        return all(
            row.seq in states[version].rows and self._passes(states[version].rows[row.seq])
            for version in range(first, max(states) + 1)
        )


def _unscored(hits: Any, ids: str) -> list[SeenRow]:
    found = []
    for place, seq in enumerate(hits.seqs.tolist()):
        row = SeenRow(hits.ids[place] if ids == "str" else int(hits.ids[place]), seq, 0.0)
        if hits.metadata is not None:
            kept = hits.metadata[place]
            row.metadata = orjson.loads(kept) if isinstance(kept, bytes) else kept
        if hits.vectors is not None:
            row.vector = hits.vectors[place].tolist()
        found.append(row)
    return found


@dataclass
class Counted:
    """One subscription to a count."""

    sub: int
    fields: dict[str, Any]
    told: dict[str, Any]

    def apply(self, event: Any, states: States) -> None:
        """Take a push."""
        told = {name: value for name, value in event.items() if name not in ("event", "sub")}
        assert event["event"] == "count"
        assert told["version"] > self.told["version"]
        assert {**told, "version": 0} != {**self.told, "version": 0}, "nothing has changed"
        self.told = told
        self.check(states)

    def check(self, states: States) -> None:
        """It is what there was for this principal at that version."""
        assert self.told == self.wanted(states, self.told["version"])

    def wanted(self, states: States, version: int) -> dict[str, Any]:
        state, document = states[version], self.fields.get("filter")
        found: dict[str, Any] = {"version": version, "count": len(state.live(document))}
        if "by" in self.fields:
            limit = self.fields.get("limit", 100)
            listed, others = counts(state, self.fields["by"], limit, document)
            by = [{"value": value, "count": count} for value, count in listed]
            found |= {"by": by, "others": others}
        return found

    def is_current(self, states: States) -> bool:
        wanted = self.wanted(states, max(states))
        return {**wanted, "version": 0} == {**self.told, "version": 0}
