"""Replicas, where what makes them again fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from omendb_core.model.errors import OmenError, Unavailable

from omendb_ws.catalog import replicas
from omendb_ws.catalog.replicas import Replicas
from omendb_ws.journal.interface import Stored
from tests.patience import eventually

STORED = Stored("k1", "default", "items")


@pytest.mark.parametrize("fault", [MemoryError(), Unavailable("nobody answers")])
async def test_what_fails_while_a_replica_is_made_again_is_logged_and_tried_again(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replicas, "_AGAIN_SECONDS", 0.0)
    log = SimpleNamespace(stored=STORED)
    shard = cast(
        Any,
        SimpleNamespace(
            name="items",
            is_follower=True,
            listed=SimpleNamespace(is_listed=True),
            pending=SimpleNamespace(log=log),
        ),
    )
    catalog = SimpleNamespace(held=None, shard_of=lambda tenant, name: shard)
    engine = SimpleNamespace(followers=SimpleNamespace())
    made = Replicas(cast(Any, None), cast(Any, catalog), cast(Any, engine), lambda: 0)
    tried: list[OmenError] = []

    async def make_again(shard: Any, error: OmenError) -> None:
        tried.append(error)
        if len(tried) == 1:
            raise fault
        shard.listed.is_listed = False

    monkeypatch.setattr(made, "_make_again", make_again)
    why = Unavailable("it was purged")
    made._failed(shard, why)
    assert made.coming == {"k1"}
    await eventually(lambda: len(tried) == 2 and not made.coming)
    assert tried == [why, why]
    assert "items could not be read again" in caplog.text
