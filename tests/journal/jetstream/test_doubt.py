"""What an owner does about changes of which it does not know whether the stream has them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from omendb_core.model.errors import Unavailable

from omendb_ws.journal.interface import Deposed
from omendb_ws.journal.jetstream import log as log_module
from omendb_ws.journal.jetstream.log import StreamLog
from omendb_ws.journal.jetstream.store import JetStreamStore
from tests.nats import NatsServer, nats_server
from tests.patience import wait_until

from .holders import Owner, create, stores


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def store(nats: NatsServer) -> Iterator[JetStreamStore]:
    with stores(nats, f"doubt-{secrets.token_hex(4)}", 1) as [one]:
        yield one


@pytest.fixture
def owner(store: JetStreamStore) -> Iterator[Owner]:
    one = create(store)
    one.append(3)
    yield one
    one.log.close()


def log_of(owner: Owner) -> StreamLog:
    assert isinstance(owner.log, StreamLog)
    return owner.log


def lose_connection(store: JetStreamStore) -> None:
    """As when its server of NATS ends."""
    connection, losses = store.connection, store.connection.losses

    async def lose() -> None:
        await connection.client.close()

    connection.call(lose())
    wait_until(lambda: connection.losses > losses)


def goes_on(owner: Owner) -> None:
    """Whatever was refused is put back, and changes are taken again."""
    log = log_of(owner)
    wait_until(lambda: not log._is_resolving)
    owner.window.rewind(log.rewind())
    wait_until(lambda: log.error is None)
    version = owner.window.version
    owner.append(3)
    assert owner.window.version == version + 3
    assert not owner.ended


def append_with_a_connection_that_ends(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool
) -> None:
    """A change whose acknowledgement never comes, as the connection is lost."""
    client = store.connection.client
    publish = client.publish

    async def lost(subject: str, *args: Any, **kwargs: Any) -> None:
        if subject == log_of(owner)._streamed.subject:
            stop_tail_now()
            if is_stored:
                await publish(subject, *args, **kwargs)
                await client.flush()
            await client.close()
        else:
            await publish(subject, *args, **kwargs)

    def stop_tail_now() -> None:
        log_of(owner)._tail.stop()
        monkeypatch.setattr(log_of(owner)._pipeline, "_answered", nothing)

    async def nothing(message: Any) -> None:
        """It is not heard."""

    monkeypatch.setattr(client, "publish", lost)
    owner.append()


def test_a_lost_connection_with_nothing_under_way_takes_no_new_term(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = log_of(owner)._term

    async def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is in doubt")

    monkeypatch.setattr(log_module, "claim", refused)
    lose_connection(store)
    goes_on(owner)
    assert log_of(owner)._term == term
    assert not owner.refused


def test_a_change_that_comes_back_after_a_lost_connection_is_taken_without_a_new_term(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    term, version = log_of(owner)._term, owner.window.version
    append_with_a_connection_that_ends(store, owner, monkeypatch, is_stored=True)
    assert (owner.window.version, owner.refused) == (version + 1, [])
    goes_on(owner)
    assert log_of(owner)._term == term


def test_a_change_that_does_not_come_back_is_refused_behind_a_new_fence(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    term, version = log_of(owner)._term, owner.window.version
    append_with_a_connection_that_ends(store, owner, monkeypatch, is_stored=False)
    assert owner.window.version == version
    assert isinstance(owner.errors[0], Unavailable)
    goes_on(owner)
    assert log_of(owner)._term == term + 1
    assert store._jetstream.takeovers == 1


def test_a_fence_whose_outcome_was_unknown_is_not_taken_for_another_owners(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claims = log_module.claim, []

    async def unknown_at_first(*args: Any, **kwargs: Any) -> tuple[int, int]:
        claims.append(await claim(*args, **kwargs))
        if len(claims) == 1:
            raise Unavailable("its acknowledgement did not come")
        return claims[-1]

    monkeypatch.setattr(log_module, "claim", unknown_at_first)
    append_with_a_connection_that_ends(store, owner, monkeypatch, is_stored=False)
    goes_on(owner)
    assert len(claims) == 2
    assert log_of(owner)._term == claims[-1][0]


def test_a_connection_that_is_lost_again_as_it_goes_on_is_no_end(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reign, attempts = StreamLog._reign, []

    async def lost_at_first(log: StreamLog) -> None:
        attempts.append(log)
        if len(attempts) == 1:
            raise Unavailable("the connection is lost")
        await reign(log)

    monkeypatch.setattr(StreamLog, "_reign", lost_at_first)
    lose_connection(store)
    goes_on(owner)
    assert len(attempts) == 2


def test_one_that_another_node_takes_over_as_it_goes_on_takes_nothing_more(
    store: JetStreamStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reign = StreamLog._reign

    async def deposed_meanwhile(log: StreamLog) -> None:
        await reign(log)
        log._end_with(Deposed("is owned by another node now"), is_decided=True)

    monkeypatch.setattr(StreamLog, "_reign", deposed_meanwhile)
    lose_connection(store)
    assert isinstance(owner.take_until_ended(), Deposed)
    wait_until(lambda: not log_of(owner)._is_resolving)
    assert isinstance(log_of(owner).error, Deposed)
