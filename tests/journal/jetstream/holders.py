"""Holders of one window over a store of a cluster, without a server: an owner and followers."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Definition
from omendb_core.replay import replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Following, Log, Logged, Manifest, SharedLog, Stored
from omendb_ws.journal.jetstream.store import ClusterPlace, JetStreamStore
from tests.core.windows import LIMITS, History, definition
from tests.nats import NatsServer
from tests.patience import PATIENCE_SECONDS, wait_until


def manifest(of: Definition | None = None) -> Manifest:
    return Manifest("default", "items", of or definition(capacity=30), "everysec", "e")


@contextmanager
def stores(nats: NatsServer, cluster: str, count: int = 2) -> Iterator[list[JetStreamStore]]:
    """Those of some nodes; the first ones stand still for who looks whether they are there."""
    opened: list[JetStreamStore] = []
    try:
        for number in range(count):
            for one in opened:
                one.connection.call(one._presence.end())
            place = ClusterPlace((nats.url,), None, cluster, f"n{number}")
            opened.append(JetStreamStore(place))
        yield opened
    finally:
        for one in opened:
            one.close()


class Owner:
    """A window, and its log; changes are applied as they are settled."""

    def __init__(self, window: Window, seed: int = 1) -> None:
        self.window = window
        self.history = History(window, seed)
        self.log: Log
        self.refused: list[Change] = []
        self.errors: list[OmenError] = []
        self.ended: list[OmenError] = []
        self._settled: queue.SimpleQueue[tuple[list[Change], OmenError | None]] = (
            queue.SimpleQueue()
        )

    def settle(self, changes: Sequence[Any], error: OmenError | None) -> None:
        self._settled.put((list(changes), error))

    def append(self, count: int = 1) -> None:
        """Random changes, one after the other."""
        for _ in range(count):
            change = self.history.change()
            self.log.append(change, change)
            self.take()

    def take(self) -> None:
        """What was settled next: applied, or refused."""
        changes, error = self._settled.get(timeout=PATIENCE_SECONDS)
        if not changes and error is not None:
            self.ended.append(error)
        for change in changes:
            if error is None:
                self.window.apply(change)
            else:
                self.refused.append(change)
                self.errors.append(error)

    def take_until_ended(self) -> OmenError:
        """Everything until its log says that it is over, and put admission back; why it is."""
        while not self.ended:
            self.take()
        self.window.rewind(self.log.rewind())
        return self.ended[-1]

    def step_down(self) -> Follower:
        """Go on as a follower, with the same window."""
        assert isinstance(self.log, SharedLog)
        return Follower(self.log.step_down(), self.window)


class Follower:
    """A window that follows; a new one, or one that stands where ``following`` does."""

    def __init__(self, following: Following, window: Window | None = None) -> None:
        self.following = following
        self.failures: list[OmenError] = []
        self._delivered: queue.SimpleQueue[tuple[Sequence[Logged], int]] = queue.SimpleQueue()
        if window is None:
            window = Window(following.manifest.definition, LIMITS)
            resume(window, following.checkpoint)
            for logged in following.changes():
                replay(window, logged)
        self.window = window
        following.begin(lambda logged, size: self._delivered.put((logged, size)), self._fail)

    def _fail(self, error: OmenError) -> None:
        self.failures.append(error)

    @property
    def delivered(self) -> int:
        """How much was, and is not applied."""
        return self._delivered.qsize()

    def apply(self) -> None:
        """All that was delivered by now."""
        while not self._delivered.empty():
            logged, size_bytes = self._delivered.get()
            for one in logged:
                replay(self.window, one)
            self.following.took(size_bytes)

    def apply_until(self, version: int) -> None:
        """Wait until that is applied."""

        def is_there() -> bool:
            assert not self.failures, self.failures
            self.apply()
            return self.window.version >= version

        wait_until(is_there)

    def promote(self, seed: int = 2) -> Owner:
        """Own it."""
        owner = Owner(self.window, seed)
        owner.log = self.following.promote(owner.settle)
        self.apply()
        self.window.rewind(owner.log.rewind())
        owner.history.now_us = self.window.admission.admitted.time_us
        return owner


def create(store: JetStreamStore, of: Definition | None = None, seed: int = 1) -> Owner:
    """A new collection."""
    made = manifest(of)
    owner = Owner(Window(made.definition, LIMITS), seed)
    owner.log = store.create(made, LIMITS, owner.settle)
    return owner


def stored(store: JetStreamStore) -> Stored:
    [found] = store.stored()
    return found


def follow(store: JetStreamStore) -> Follower:
    """Follow the only collection."""
    return Follower(store.follow(stored(store), LIMITS))
