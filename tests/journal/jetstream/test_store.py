"""A store over a real NATS server, without a server of ours: what streams hold and let go of, and
streams that are not what was written."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from omendb_core.model.change import AddChange
from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import Definition

from omendb_ws.journal.interface import Damaged, Deposed, Log, Logged
from omendb_ws.journal.jetstream import queue as queue_module
from omendb_ws.journal.jetstream.store import ClusterPlace, JetStreamStore
from tests.journal.jetstream.messages import LIMITS, MANIFEST, add, delete
from tests.nats import NatsServer, nats_server
from tests.patience import wait_until


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@contextmanager
def store(nats: NatsServer, cluster: str, node: str = "one") -> Iterator[JetStreamStore]:
    opened = JetStreamStore(ClusterPlace((nats.url,), None, cluster, node))
    try:
        yield opened
    finally:
        opened.close()


class Settled:
    """What a log has said."""

    def __init__(self) -> None:
        self.tags: list[Any] = []
        self.errors: list[OmenError] = []

    def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
        if error is not None:
            self.errors.append(error)
        self.tags += tags


def recovered(opened: JetStreamStore) -> tuple[list[Logged], Log, Settled]:
    [stored] = opened.stored()
    recovery = opened.recover(stored, LIMITS)
    found = list(recovery.changes())
    settled = Settled()
    return found, recovery.finish(settled), settled


def state(opened: JetStreamStore, log: Log) -> dict[str, Any]:
    name = opened._definitions.stream_of(log.stored)
    return opened.connection.call(opened._jetstream.stream_state(name))


def wide(version: int, first_seq: int, rows: int) -> AddChange:
    ids = np.arange(first_seq, first_seq + rows, dtype=np.uint64)
    vectors = np.full((rows, 64), version, np.float32)
    return AddChange(version, version, first_seq, vectors, ids, {}, None, None, None)


WIDE = replace(MANIFEST, definition=Definition(64, 100, "dot", "u64", {}, None))


def test_a_stream_is_purged_as_rows_leave_the_window(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "CHECKPOINT_BYTES", 20_000)
    settled = Settled()
    with store(nats, "purged") as opened:
        log = opened.create(WIDE, LIMITS, settled)
        for version in range(1, 101):
            log.append(wide(version, 50 * version - 49, 50), version)
            wait_until(lambda version=version: len(settled.tags) == version)
        wait_until(lambda: state(opened, log)["first_seq"] > 50)
        log.close()
    with store(nats, "purged", "two") as opened:
        found, log, _ = recovered(opened)
        versions = [one.version for one in found]
        assert versions == list(range(versions[0], 101))
        assert 2 <= len(versions) < 20  # what the window holds, and up to a checkpoint before it
        assert log.rewind().version == 100
        log.close()


def test_live_rows_written_again_let_go_of_what_was_before(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletes pile up, and nothing leaves the window by itself."""
    settled = Settled()
    with store(nats, "compacted") as opened:
        log = opened.create(WIDE, LIMITS, settled)
        log.append(wide(1, 1, 50), 1)
        for version in range(2, 40):
            log.append(delete(version, version), version)
        wait_until(lambda: len(settled.tags) == 39)
        compaction = log.compaction
        assert compaction is not None
        monkeypatch.setattr(compaction._passes, "_least_bytes", 100)
        wanted = compaction.wanted_rows(1)
        assert wanted == (1, 50)
        rows = wide(1, 1, 50)
        compaction.keep(
            KeptRows(
                39, 1, 50, np.ones(50, np.int64), np.array([1, *range(40, 51)], np.uint64),
                rows.vectors[:12], np.array([1, *range(40, 51)], np.uint64), {}, None,
            )
        )  # fmt: skip
        wait_until(lambda: state(opened, log)["first_seq"] > 2)
        log.append(delete(40, 50), 40)
        wait_until(lambda: len(settled.tags) == 40)
        log.close()
    with store(nats, "compacted", "two") as opened:
        found, log, _ = recovered(opened)
        assert [type(one).__name__ for one in found] == ["KeptRows", "DeleteChange"]
        assert cast(KeptRows, found[0]).last_seq == 50
        log.close()


def test_a_foreign_message_stops_the_log_loudly(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    settled = Settled()
    with store(nats, "foreign") as opened:
        log = opened.create(MANIFEST, LIMITS, settled)
        subject = f"omendb.foreign.{log.stored.key}"
        opened.connection.call(opened._jetstream.commit(subject, b"hello", {}))
        wait_until(lambda: settled.errors)
        [error] = settled.errors
        assert isinstance(error, Damaged)
        assert isinstance(log.error, Damaged)
        assert "stops: stream OMENDB-foreign-" in caplog.text
        log.append(add(1, 1, 1), "late")
        wait_until(lambda: "late" in settled.tags)
        log.close()
    with store(nats, "foreign", "two") as opened:
        [stored] = opened.stored()
        with pytest.raises(Damaged, match="a message shorter than its head"):
            list(opened.recover(stored, LIMITS).changes())
        opened.drop(stored)
        assert opened.stored() == []


def test_what_another_node_took_over_is_neither_appended_to_nor_dropped(nats: NatsServer) -> None:
    settled = Settled()
    with store(nats, "deposed") as opened:
        log = opened.create(MANIFEST, LIMITS, settled)
        opened.connection.call(opened._presence.end())  # as one that stands still
        with store(nats, "deposed", "two") as other:
            found, taken, others = recovered(other)
            assert found == []
            wait_until(lambda: isinstance(log.error, Deposed))
            assert isinstance(settled.errors[-1], Deposed)
            log.append(add(1, 1, 1), "mine")
            wait_until(lambda: "mine" in settled.tags)
            taken.append(add(1, 1, 2), "theirs")
            wait_until(lambda: others.tags == ["theirs"])
            assert others.errors == []
            with pytest.raises(Deposed):
                log.drop()
            assert [one.key for one in other.stored()] == [log.stored.key]
            taken.close()
        log.close()


def test_a_node_that_died_as_it_made_or_dropped_a_collection_leaves_nothing(
    nats: NatsServer,
) -> None:
    with store(nats, "cleared") as opened:
        log = opened.create(MANIFEST, LIMITS, Settled())
        log.close()
        for tenant, state_ in (("default", "dropping"), ("other", "making")):
            key = log.stored.key if state_ == "dropping" else "0" * 16
            entry = f"def.{tenant}.items"
            opened.connection.call(opened._jetstream.put(entry, {"key": key, "state": state_}))
        assert opened.stored() == []
        with pytest.raises(Unavailable, match="drop it again"):
            opened.create(MANIFEST, LIMITS, Settled())
    with store(nats, "cleared", "two") as opened:
        assert opened.connection.call(opened._jetstream.entries()) == ["format", "node.two"]
        log = opened.create(MANIFEST, LIMITS, Settled())
        log.drop()


def test_threads_end_with_their_store(nats: NatsServer) -> None:
    before = set(threading.enumerate())
    with store(nats, "ended") as opened:
        opened.create(MANIFEST, LIMITS, Settled()).close()
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


def test_a_file_of_nats_that_was_altered_is_never_shown(tmp_path: Path) -> None:
    """NATS leaves out what its own checksums refuse; the numbers of what follows tell it."""
    with nats_server(tmp_path / "nats") as server:
        settled = Settled()
        with store(server, "altered") as opened:
            log = opened.create(MANIFEST, LIMITS, settled)
            for version in range(1, 30):
                log.append(add(version, version, version), version)
                wait_until(lambda version=version: len(settled.tags) == version)
            log.close()
            key = log.stored.key
        server.kill()
        [block] = (tmp_path / "nats" / "store").rglob(f"*{key}*/msgs/*.blk")
        data = bytearray(block.read_bytes())
        data[len(data) // 2] ^= 0xFF
        block.write_bytes(data)
        server.start()
        with store(server, "altered", "two") as opened:
            [stored] = opened.stored()
            with pytest.raises(Damaged):
                list(opened.recover(stored, LIMITS).changes())
