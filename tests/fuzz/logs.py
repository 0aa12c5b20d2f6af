"""Logs whose whole history is known: what was written, and how much of it was flushed.

Made once, by the journal's own appender on a disk in memory. How much was flushed is counted here,
as the flushes return, and asked of nothing that is written down.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
from omendb_core.model.change import AddChange, Change
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import IdKind
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Manifest
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.compaction import Passes
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.records import HEADER_BYTES, read_header
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.segments import segments_in
from omendb_ws.journal.local.tracker import Tracker
from tests.core.windows import LIMITS, History, definition
from tests.journal.disk import Disk

BOOT = "boot"
EPOCH = "e0"


@dataclass
class KnownLog:
    """``states``: what the window was after so many changes; ``flushed`` of them are on disk."""

    durability: Durability
    segment_bytes: int
    disk: Disk
    flushed: int
    is_clean: bool
    states: list[Hashable] = field(default_factory=list)
    #: Where the records of each file begin, and where the last one ends.
    starts: dict[str, list[int]] = field(default_factory=dict)

    def count_of(self, window: Window) -> int:
        """How many changes ``window`` holds. AssertionError: it is none that there ever was."""
        found = state_of(window)
        assert found in self.states, "it is no window that there ever was"
        return len(self.states) - 1 - self.states[::-1].index(found)


def state_of(window: Window) -> Hashable:
    """All that a window holds and would admit, for comparing."""
    slots = window.state.ring.live_slots(window.first_seq, window.last_seq)
    seqs = np.arange(window.first_seq, window.last_seq + 1, dtype=np.uint64)
    every = window.state.ring.slots(seqs)
    return (
        window.version,
        window.first_seq,
        window.last_seq,
        tuple(slots.tolist()),
        tuple(window.state.ids.of(slots)),
        window.state.ring.vectors[slots].tobytes(),
        tuple(window.state.payloads.of(slots)),
        repr(window.state.columns.objects(slots)),
        tuple(window.state.times_us[every].tolist()),
        repr(window.admission.admitted.producers.state()),
    )


def replayed(reader: Reader) -> Window:
    """The window that a log gives back. Damaged."""
    window = Window(reader.manifest.definition, LIMITS)
    resume(window, reader.tracker.checkpoint())
    for logged in reader.changes():
        replay(window, logged)
    return window


class _Making:
    """A log as it is written; the end decides what was flushed last."""

    def __init__(self, seed: int, durability: Durability, ids: IdKind, segment_bytes: int) -> None:
        self.random = np.random.default_rng(seed)
        self.disk = Disk()
        self.durability = durability
        of = Manifest("t", "items", definition(ids, capacity=12), durability, EPOCH)
        tracker = Tracker(of.definition, LIMITS, Checkpoint())
        plan = Plan(of, BOOT, segment_bytes)
        self.appender = Appender(self.disk, self.disk.root, plan, tracker, lambda: 0.0)
        self.window = Window(of.definition, LIMITS)
        self.history = History(self.window, seed)
        self.passes = Passes(of.definition, segment_bytes, Checkpoint())
        #: What is applied and nothing more: admission of the other may be ahead.
        self.twin = Window(of.definition, LIMITS)
        self.states = [state_of(self.twin)]
        self.flushed = self.base = 0

    def step(self) -> None:
        """A group of changes; perhaps flushed, marked, the next segment made, rows kept."""
        group: list[Change] = [self.history.change()]
        if isinstance(group[0], AddChange) and self.random.random() < 0.3:
            group += [one for one in [self.history.add()] if one is not None]
        while group:
            number = self.appender.number
            taken = self.appender.write([(body_of(one), one) for one in group])
            if self.appender.number != number:  # a segment is flushed before the next begins
                self.flushed = len(self.states) - 1
            for one in group[:taken]:
                self.window.apply(one)
                self.passes.appended(one)
                replay(self.twin, one)
                self.states.append(state_of(self.twin))
            group = group[taken:]
        if self.durability == "always" or self.random.random() < 0.4:
            self.flush()
        self._keep_rows()
        if self.random.random() < 0.15:
            self.appender.prepare()
        if self.random.random() < 0.15 and self.appender.wants_mark:
            self.appender.mark()

    def flush(self) -> None:
        self.appender.flush()
        self.flushed = len(self.states) - 1

    def _keep_rows(self) -> None:
        passes = self.passes
        if not passes.is_running:
            if self.random.random() < 0.05:
                passes.begin()
                self.appender.turn()
                self.flushed = len(self.states) - 1
                self.base = self.appender.number
            return
        first, last = passes.wanted()
        rows = kept_rows(self.window, first, min(last, first + 3))
        if len(rows.times_us):
            self.appender.write([(body_of(rows), rows)])
        if passes.kept(rows.last_seq):
            self.appender.base = self.base


def made(
    seed: int, durability: Durability, ids: IdKind, changes: int, segment_bytes: int, *, clean: bool
) -> KnownLog:
    """A log of that many changes, stopped in order or killed."""
    making = _Making(seed, durability, ids, segment_bytes)
    while len(making.states) <= changes:
        making.step()
    if clean:
        making.appender.close()
        making.flushed = len(making.states) - 1
    making.disk.kill()
    log = KnownLog(durability, segment_bytes, making.disk, making.flushed, clean, making.states)
    _find_records(log)
    return log


def _find_records(log: KnownLog) -> None:
    for segment in segments_in(log.disk, log.disk.root):
        data = memoryview(bytes(log.disk.file(segment.path).data))
        at, starts = 0, []
        while (header := read_header(data, segment.seed, at)) is not None:
            starts.append(at)
            at += HEADER_BYTES + header.payload_bytes
        log.starts[segment.path] = [*starts, at]


@cache
def known_logs() -> tuple[KnownLog, ...]:
    """Of either durability, in one segment and in many; killed, stopped; all ids."""
    shapes: list[tuple[Any, ...]] = [
        (1, "always", "u64", 12, 100_000, False),
        (2, "always", "str", 14, 1500, False),
        (3, "everysec", "u64", 14, 2500, False),
        (4, "everysec", "auto", 12, 100_000, False),
        (5, "everysec", "u64", 14, 1500, True),
        (6, "always", "auto", 24, 900, True),
        (7, "everysec", "str", 24, 1200, False),
    ]
    chance = random.Random(1)
    with patch.object(secrets, "randbits", chance.getrandbits):  # the seeds in the files' names
        return tuple(
            made(seed, durability, ids, count, size, clean=clean)
            for seed, durability, ids, count, size, clean in shapes
        )
