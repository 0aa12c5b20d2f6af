"""Whom NATS lets in: wrong credentials, rights that are missing, and a user that is taken out while
its node runs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from omendb_ws.journal.jetstream.connection import Refused
from omendb_ws.journal.jetstream.store import ClusterPlace, JetStreamStore
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, until_taken
from tests.server.cluster.test_one_node import found, log_of
from tests.server.raw import client, rows

NODE = '{ user: node, password: "secret" }'
OTHER = '{ user: other, password: "secret", permissions: { publish: ["nothing"] } }'


class Guarded:
    """A server of NATS that knows some users, and may be told of others while it runs."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.nats: NatsServer

    def know(self, *users: str) -> None:
        """These are its users from now on."""
        self._config.write_text(f"jetstream {{}}\nauthorization {{ users: [{', '.join(users)}] }}")
        if hasattr(self, "nats"):
            assert self.nats._process is not None
            os.kill(self.nats._process.pid, signal.SIGHUP)

    @property
    def url(self) -> str:
        """Where it lets a node in."""
        return self.at("node:secret")

    def at(self, user: str) -> str:
        """Where it is, for that user."""
        return self.nats.url.replace("//", f"//{user}@")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    found = Guarded(tmp_path / "nats.conf")
    found.know(NODE, OTHER)
    with nats_server(tmp_path / "nats", ["-c", str(tmp_path / "nats.conf")]) as found.nats:
        yield found


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("node:wrong", "refuses this node's credentials"),
        ("nobody:secret", "refuses this node's credentials"),
        ("other:secret", "does not let this node do what it must"),
    ],
)
def test_a_node_whom_nats_does_not_let_in_says_so_and_ends(
    guarded: Guarded, user: str, why: str
) -> None:
    with pytest.raises(Refused, match=why) as refused:
        JetStreamStore(ClusterPlace((guarded.at(user),), None, "main", "one"))
    assert "secret" not in str(refused.value)


async def test_a_user_that_is_taken_out_is_as_if_nats_were_away_until_it_is_there_again(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with node(guarded) as server, client(server) as raw, client(server) as other:  # type: ignore[arg-type]
        await raw.create("items")
        await raw.add(1)
        guarded.know(OTHER)
        await eventually(lambda: log_of(server).error is not None)
        refused = await other.error("add", collection="items", rows=rows(2))
        assert (refused["code"], refused["retry"]) == ("unavailable", True)
        assert await found(other) == [1]
        await eventually(lambda: "refuses this node's credentials" in caplog.text)
        guarded.know(OTHER, NODE)
        await until_taken(raw, "add", collection="items", rows=rows(3))
        assert await found(raw) == [1, 3]
    said = [one for one in caplog.messages if "refuses this node's credentials" in one]
    assert len(said) <= 2  # it tries four times a second
