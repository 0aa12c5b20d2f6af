"""Files that are read again: what was read last holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omendb_ws.access.audit import Audit
from omendb_ws.node.reloading import Reloads, Watched
from omendb_ws.telemetry.metrics import Metrics
from tests.patience import PATIENCE_SECONDS


async def test_a_slow_look_does_not_bring_back_what_a_hangup_has_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("first")
    taken: list[str] = []
    was_read, go_on = threading.Event(), threading.Event()

    def read() -> Callable[[], None]:
        text = path.read_text()
        if text == "second":
            was_read.set()
            assert go_on.wait(PATIENCE_SECONDS)
        return partial(taken.append, text)

    reloads = Reloads(Metrics(0.0), Audit())
    reloads.watch(Watched("keys", (str(path),), read))
    path.write_text("second")
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(reloads.look())
        assert await asyncio.to_thread(was_read.wait, PATIENCE_SECONDS)
        path.write_text("the third")
        hangup = tasks.create_task(reloads.all())
        await asyncio.wait([hangup], timeout=0.05)
        go_on.set()
    assert taken[-1] == "the third"
