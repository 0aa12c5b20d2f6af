"""The entries of a cluster's collections, where NATS fails in the middle of a change of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from omendb_core.model.errors import Unavailable
from omendb_core.model.logged import Checkpoint

from omendb_ws.journal.interface import Log, Receiving, Settle, Stored
from omendb_ws.journal.jetstream import receiving
from omendb_ws.journal.jetstream import store as store_module
from omendb_ws.journal.jetstream.api import ApiError
from omendb_ws.journal.jetstream.names import definition_entry, leaving_entry
from omendb_ws.journal.jetstream.receiving import StreamReceiving
from omendb_ws.journal.jetstream.store import JetStreamStore
from tests.journal.jetstream.messages import LIMITS, MANIFEST
from tests.journal.jetstream.test_store import Settled, store
from tests.nats import NatsServer, nats_server

_HEALED = replace(MANIFEST, epoch="f" * 16)
_ENTRY = definition_entry(MANIFEST.tenant, MANIFEST.name)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


def made(opened: JetStreamStore) -> Stored:
    log = opened.create(MANIFEST, LIMITS, Settled())
    log.close()
    return log.stored


def healing(opened: JetStreamStore) -> tuple[Stored, Receiving]:
    """A collection, and the healing of it that has begun."""
    old = made(opened)
    return old, opened.renew(old, _HEALED, Checkpoint(), LIMITS, 0)


def has_stream(opened: JetStreamStore, stored: Stored) -> bool:
    try:
        name = opened._definitions.stream_of(stored)
        opened.connection.call(opened._jetstream.stream_state(name))
    except ApiError as error:
        return not error.is_not_found
    return True


def test_a_healed_collection_stays_where_nats_fails_right_after_the_switch(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(nats, "switched") as opened:
        old, receiving = healing(opened)

        async def fails(key: str) -> None:
            raise Unavailable("the cluster's NATS does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(opened._jetstream, "remove", fails)
            receiving.finish(Settled()).close()
        [new] = opened.stored()
        assert new.key != old.key
        assert has_stream(opened, new)
        assert has_stream(opened, old)


def test_a_healing_of_unknown_outcome_takes_nothing_away(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(nats, "unknown") as opened:
        old, receiving = healing(opened)
        put, get = opened._jetstream.put, opened._jetstream.get

        async def stores_and_fails(key: str, value: Any, revision: int | None = None) -> int:
            await put(key, value, revision)
            monkeypatch.setattr(opened._jetstream, "get", fails_once)
            raise Unavailable("the cluster's NATS does not answer")

        async def fails_once(key: str) -> None:
            monkeypatch.setattr(opened._jetstream, "get", get)
            raise Unavailable("the cluster's NATS does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(opened._jetstream, "put", stores_and_fails)
            with pytest.raises(Unavailable):
                receiving.finish(Settled())
        receiving.abandon()
        [new] = opened.stored()
        assert new.key != old.key
        assert has_stream(opened, new)


def test_a_healing_that_is_given_up_leaves_the_collection_and_cannot_switch(
    nats: NatsServer,
) -> None:
    with store(nats, "given-up") as opened:
        old = made(opened)
        before = opened.connection.call(opened._jetstream.get(_ENTRY))
        receiving = opened.renew(old, _HEALED, Checkpoint(), LIMITS, 0)
        during = opened.connection.call(opened._jetstream.get(_ENTRY))
        assert before is not None
        assert during is not None
        new = replace(old, key=during.value["renewing"])
        receiving.abandon()
        assert opened.stored() == [old]
        assert not has_stream(opened, new)
        with pytest.raises(ApiError) as late:
            opened.connection.call(opened._jetstream.put(_ENTRY, {}, during.revision))
        assert late.value.is_wrong_last


def test_what_is_cleared_cannot_be_made_any_more(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(nats, "late") as opened:
        jetstream, stored = opened._jetstream, Stored("0" * 16, MANIFEST.tenant, MANIFEST.name)
        making = {"key": stored.key, "state": "making", "by": "f" * 16}
        revision = opened.connection.call(jetstream.put(_ENTRY, making, 0))
        delete, refused = jetstream.delete_stream, []

        async def deletes_as_its_maker_wakes(name: str) -> None:
            try:
                await jetstream.put(_ENTRY, making | {"state": "made"}, revision)
            except ApiError as error:
                refused.append(error.is_wrong_last)
            await delete(name)

        monkeypatch.setattr(jetstream, "delete_stream", deletes_as_its_maker_wakes)
        opened.clear(stored)
        assert refused == [True]
        assert opened.connection.call(jetstream.get(_ENTRY)) is None


def test_what_has_been_made_meanwhile_is_not_cleared(nats: NatsServer) -> None:
    with store(nats, "awake") as opened:
        stored = made(opened)
        opened.clear(stored)
        assert opened.stored() == [stored]
        assert has_stream(opened, stored)


def test_of_a_node_that_is_forgotten_nothing_stays(nats: NatsServer) -> None:
    with store(nats, "forgotten") as opened:
        leaving = opened._jetstream.put(leaving_entry("gone"), {"incarnation": "f" * 16})
        opened.connection.call(leaving)
        opened.forget_node("gone")
        assert opened.connection.call(opened._jetstream.get(leaving_entry("gone"))) is None


def test_a_first_message_whose_answer_is_lost_is_taken_as_stored(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(nats, "answerless") as opened:
        stores, lost = opened._jetstream.store, []

        async def answers_later(subject: str, message: bytes, last_sequence: int) -> int:
            sequence = await stores(subject, message, last_sequence)
            if not lost:
                lost.append(sequence)
                raise Unavailable("the cluster's NATS does not answer")
            return sequence

        monkeypatch.setattr(opened._jetstream, "store", answers_later)
        stored = made(opened)
        assert lost
        assert opened.stored() == [stored]


def test_a_collection_in_memory_that_cannot_begin_anew_leaves_no_log_behind(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(nats, "unfinished") as opened:
        log = opened.create(replace(MANIFEST, durability="memory"), LIMITS, Settled())
        log.close()
        begun: list[StreamReceiving] = []

        class Fails(StreamReceiving):
            def finish(self, settle: Settle) -> Log:
                begun.append(self)
                raise Unavailable("NATS takes nothing at the moment")

        monkeypatch.setattr(store_module, "StreamReceiving", Fails)
        with pytest.raises(Unavailable, match="takes nothing"):
            opened.begin_anew(log.stored, LIMITS)
        assert [one._log for one in begun] == [None]
        assert opened.stored() == [log.stored]


def test_a_restore_of_which_nats_takes_nothing_for_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(receiving, "_STILL_SECONDS", 0.01)
    log = cast(Any, SimpleNamespace(error=None, has_room=False))
    arrivals = receiving.Arrivals()
    with pytest.raises(Unavailable, match="takes nothing"):
        arrivals.wait(log, for_all=False)
    arrivals.expect()
    with pytest.raises(Unavailable, match="takes nothing"):
        arrivals.wait(log, for_all=True)
    arrivals(["rows"], None)
    arrivals.wait(log, for_all=True)
