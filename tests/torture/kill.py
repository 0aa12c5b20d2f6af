"""kill -9 at random instants of a server under load, and a ledger that says what must be there.

``python -m tests.torture.kill --rounds 500`` is the full size. A round: connections add, replace,
delete and update rows, and create and drop collections; the process is killed; it is started again
on the same directory; then everything is compared with what was acknowledged, and the next round
goes on with what there is.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.patience import eventually
from tests.torture.ledger import Change, Ledger, Rows
from tests.torture.link import Link
from tests.torture.process import ServerProcess

#: Rows of one worker; small, so that most adds replace some.
IDS = 24
#: Requests that a worker has under way.
PIPELINE = 5
ROW = [{"id": 1, "vector": [1, 2]}]
#: The window whose rows are evicted all the time.
RING_ROWS = 60


@dataclass
class Window:
    """What is known of one collection over all rounds."""

    name: str
    capacity: int
    durability: str
    ledgers: list[Ledger] = field(default_factory=list)
    epoch: str = ""
    version: int = 0
    last_seq: int = 0
    #: seq -> (id, serial) of acknowledged adds, and of rows that a feed has shown.
    rows: dict[int, tuple[int, int]] = field(default_factory=dict)
    seen_seq: int = 0


@dataclass
class Report:
    """What a run came to."""

    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    survived: int = 0
    shown: int = 0
    collections: int = 0
    copies: int = 0


class Torture:
    """One run in ``directory``; everything hangs on ``seed`` but the instants of the kills."""

    def __init__(self, directory: Path, seed: int, durability: str) -> None:
        self.chance = random.Random(seed)
        self.server = ServerProcess(directory / "data", directory / "log")
        self.windows = [
            Window("big", 10_000, durability),
            Window("ring", RING_ROWS, durability),
        ]
        for place, window in enumerate(self.windows):
            for worker in range(3):
                first_id = 1000 * (place * 10 + worker + 1)
                window.ledgers.append(Ledger(first_id, random.Random(self.chance.random())))
        #: name -> whether it is there, None: nobody knows; with its epoch.
        self.others: dict[str, tuple[bool | None, str]] = {}
        #: name -> the same of a copy of ``big``, with the version and rows that it must have.
        self.copies: dict[str, tuple[bool | None, tuple[int, int]]] = {}
        self.report = Report()

    async def run(self, rounds: int) -> Report:
        """That many kills."""
        await self.server.start()
        try:
            for window in self.windows:
                await self._create(window)
            for _ in range(rounds):
                await self._load()
                await self.server.start()
                await self._compare()
                self.report.rounds += 1
        finally:
            await self.server.kill()
        return self.report

    async def _link(self, stack: AsyncExitStack) -> Link:
        socket = await stack.enter_async_context(
            connect(self.server.url, compression=None, ping_interval=None)
        )
        return Link(socket)

    async def _create(self, window: Window) -> None:
        async with AsyncExitStack() as stack:
            link = await self._link(stack)
            made = await link.ok(
                op="create", collection=window.name, dim=4, capacity=window.capacity,
                metric="dot", columns={"s": "i64"}, durability=window.durability,
            )  # fmt: skip
            window.epoch = made["epoch"]

    # -- until the kill ---------------------------------------------------------------------------

    async def _load(self) -> None:
        """Work on every collection until the server is killed."""
        async with AsyncExitStack() as stack:
            tasks = []
            for window in self.windows:
                tasks += [
                    self._work(await self._link(stack), window, ledger) for ledger in window.ledgers
                ]
                tasks.append(self._follow(await self._link(stack), window))
            tasks.append(self._come_and_go(await self._link(stack), await self._link(stack)))
            tasks.append(self._copy(await self._link(stack)))
            running = [asyncio.create_task(_until_closed(task)) for task in tasks]
            # The first time it has answered something by then; later any instant will do.
            await eventually(
                lambda: self.report.acknowledged or any(task.done() for task in running)
            )
            await asyncio.sleep(self.chance.uniform(0.0, 0.4))
            await self.server.kill()
            await asyncio.gather(*running)

    async def _work(self, link: Link, window: Window, ledger: Ledger) -> None:
        ids: list[int] = []
        while True:
            while len(ids) < PIPELINE:
                change = self._decide(window, ledger)
                ledger.sent.append(change)
                fields = change.request(window.name, f"p{ledger.first_id}")
                ids.append(await link.send(**fields))
            reply = await link.reply(ids.pop(0))
            assert "ok" in reply, (ledger.sent[0], reply)
            self._acknowledge(window, ledger, reply["ok"])

    def _decide(self, window: Window, ledger: Ledger) -> Change:
        change = ledger.next_change(IDS)
        while window.capacity == RING_ROWS and change.op != "add":
            change = ledger.next_change(IDS)  # rows that were evicted cannot be updated
        return change

    def _acknowledge(self, window: Window, ledger: Ledger, ok: dict[str, Any]) -> None:
        change = ledger.sent[0]
        ledger.acknowledge(ok)
        self.report.acknowledged += 1
        window.version = max(window.version, ok["version"])
        if change.op == "add":
            window.last_seq = max(window.last_seq, ok["last_seq"])
            for seq, id in enumerate(change.ids, ok["first_seq"]):
                told = (id, change.serial)
                assert window.rows.setdefault(seq, told) == told, f"seq {seq} is two rows"

    async def _follow(self, link: Link, window: Window) -> None:
        """Read a feed on from where the last one ended."""
        await link.ok(
            op="subscribe", kind="feed", collection=window.name, include=["vector"],
            from_seq=window.seen_seq + 1, epoch=window.epoch,
        )  # fmt: skip
        while True:
            while link.events:
                self._shown(window, link.events.pop(0))
            await link.message()

    def _shown(self, window: Window, event: dict[str, Any]) -> None:
        if event["event"] not in ("feed", "gap"):
            return
        for row in event.get("rows", ()):
            assert row["seq"] > window.seen_seq, "a row twice"
            window.seen_seq = row["seq"]
            told = (row["id"], int(row["vector"][1]))
            assert window.rows.setdefault(row["seq"], told) == told, f"seq {row['seq']} altered"
            self.report.shown += 1
        window.seen_seq = max(window.seen_seq, event["to_seq"])

    async def _come_and_go(self, link: Link, other: Link) -> None:
        """Create and drop collections; sometimes the next of a name right behind the one before."""
        while True:
            name = f"other-{self.chance.randrange(3)}"
            is_there, epoch = self.others.get(name, (False, ""))
            self.others[name] = (None, epoch)
            create = {
                "op": "create", "collection": name, "dim": 2, "capacity": 8, "durability": "always"
            }  # fmt: skip
            if is_there and self.chance.random() < 0.5:
                adding = await link.send(op="add", collection=name, rows=ROW)
                dropping = await link.send(op="drop", collection=name)
                await link.send(op="ping")
                made = await other.ok(**{**create, "if_exists": "ok"})
                assert "ok" in await link.reply(adding)
                assert "ok" in await link.reply(dropping)
                # Whether the create came before the drop or behind it, nobody can tell.
                is_old = made["epoch"] == epoch
                self.others[name] = (False, "") if is_old else (True, made["epoch"])
            elif is_there:
                await link.ok(op="drop", collection=name)
                self.others[name] = (False, "")
            else:
                made = await link.ok(**create)
                self.others[name] = (True, made["epoch"])
            self.report.collections += 1

    async def _copy(self, link: Link) -> None:
        """Read snapshots of ``big``, and restore them beside it."""
        while True:
            begun = await link.ok(op="snapshot", collection="big")
            data, is_last = b"", False
            while not is_last:
                piece = await link.ok(op="snapshot", snapshot=begun["snapshot"])
                data, is_last = data + piece.data, piece.is_last
            name = f"copy-{self.chance.randrange(2)}"
            is_there, stated = self.copies.get(name, (False, (0, 0)))
            if is_there:
                self.copies[name] = (None, stated)
                await link.ok(op="drop", collection=name)
            self.copies[name] = (None, (begun["version"], begun["rows"]))
            restore = (await link.ok(op="restore", collection=name))["restore"]
            step = self.chance.randrange(500, 20_000)
            for start in range(0, len(data), step):
                await link.restored(restore, data[start : start + step])
            self.copies[name] = (True, self.copies[name][1])
            self.report.copies += 1

    # -- after it ---------------------------------------------------------------------------------

    async def _compare(self) -> None:
        async with AsyncExitStack() as stack:
            link = await self._link(stack)
            await self._compare_names(link)
            await self._compare_copies(link)
            for window in self.windows:
                await self._compare_window(link, window)
                for ledger in window.ledgers:
                    await self._compare_rows(link, window, ledger)

    async def _compare_names(self, link: Link) -> None:
        listed = {one["collection"]: one for one in (await link.ok(op="list"))["collections"]}
        for name, (is_there, epoch) in self.others.items():
            reply = await link.reply(await link.send(op="describe", collection=name))
            assert "ok" in reply or reply["error"]["code"] == "not_found", reply
            assert is_there is None or is_there == (name in listed), (name, is_there)
            if is_there:
                assert listed[name]["epoch"] == epoch
            found = listed.get(name)
            self.others[name] = (found is not None, found["epoch"] if found else "")

    async def _compare_copies(self, link: Link) -> None:
        """A copy is whole or not there, and one that was acknowledged is there."""
        assert not list(self.server.data_dir.glob("*.new")), "half a collection is left"
        for name, (is_there, stated) in self.copies.items():
            reply = await link.reply(await link.send(op="describe", collection=name))
            assert "ok" in reply or reply["error"]["code"] == "not_found", reply
            found = reply.get("ok")
            assert found or not is_there, f"{name} was acknowledged"
            assert not found or (found["version"], found["rows"]) == stated, (found, stated)
            self.copies[name] = (found is not None, stated)

    async def _compare_window(self, link: Link, window: Window) -> None:
        now = await link.ok(op="describe", collection=window.name)
        assert now["epoch"] == window.epoch, "no reboot, and another epoch"
        assert now["version"] >= window.version, (now, window.version)
        assert now["last_seq"] >= max(window.last_seq, window.seen_seq), (now, window.last_seq)
        window.version, window.last_seq = now["version"], now["last_seq"]

    async def _compare_rows(self, link: Link, window: Window, ledger: Ledger) -> None:
        ids = list(range(ledger.first_id, ledger.first_id + IDS))
        got = await link.ok(
            op="get", collection=window.name, ids=ids, include=["vector", "metadata"]
        )
        rows: Rows = {}
        for row in filter(None, got["rows"]):
            assert row["vector"][0] == row["id"]
            assert row["vector"][2:] == [0.5, 1.0]
            rows[row["id"]] = (int(row["vector"][1]), row["metadata"]["s"])
            known = window.rows.get(row["seq"])
            told = (row["id"], int(row["vector"][1]))
            assert known is None or known == told, (row, known)
        first_seq = window.last_seq - window.capacity + 1
        taken = [n for n, must in ledger.possible() if self._agree(window, rows, must, first_seq)]
        assert taken, (window.name, ledger.safe, ledger.sent, rows)
        self.report.unanswered += len(ledger.sent)
        await self._send_again(link, window, ledger, rows, taken)

    def _agree(self, window: Window, rows: Rows, must: Rows, first_seq: int) -> bool:
        """Whether ``rows`` are ``must``; of a small window, what may have been evicted is not."""
        if window.capacity != RING_ROWS:
            return rows == must
        if any(must.get(id) != row for id, row in rows.items()):
            return False
        young = {row for seq, row in window.rows.items() if seq >= first_seq}
        return all(id in rows or (id, row[0]) not in young for id, row in must.items())

    async def _send_again(
        self, link: Link, window: Window, ledger: Ledger, rows: Rows, taken: list[int]
    ) -> None:
        """Repeat batches as a producer does that was not answered: none may count twice."""
        if ledger.last_add is not None:
            change, first_seq, last_seq = ledger.last_add
            again = await link.ok(**change.request(window.name, f"p{ledger.first_id}"))
            assert again["duplicate"], again
            assert (again["first_seq"], again["last_seq"]) == (first_seq, last_seq)
        sent, ledger.sent = ledger.sent, []
        if window.capacity != RING_ROWS:
            ledger.safe = rows
        else:
            ledger.safe = ledger.safe if taken[-1] == 0 else _after(ledger.safe, sent[: taken[-1]])
        for place, change in enumerate(sent):
            if change.op != "add":
                continue
            reply = await link.ok(**change.request(window.name, f"p{ledger.first_id}"))
            ledger.batch = change.batch or 0
            if "duplicate" in reply:
                assert any(n > place for n in taken), (place, taken, "taken and not there")
                self.report.survived += 1
                if reply["first_seq"] is not None:
                    ledger.last_add = (change, reply["first_seq"], reply["last_seq"])
                continue
            assert any(n <= place for n in taken), (place, taken, "there and not taken")
            ledger.safe = change.apply(ledger.safe)
            assert reply["first_seq"] > window.last_seq, "a seq was given out twice"
            window.last_seq = reply["last_seq"]
            ledger.last_add = (change, reply["first_seq"], reply["last_seq"])
            for seq, id in enumerate(change.ids, reply["first_seq"]):
                window.rows[seq] = (id, change.serial)
            break
        else:
            ledger.batch = max([ledger.batch, *(c.batch or 0 for c in sent)])
        ledger.version = 0


def _after(rows: Rows, changes: list[Change]) -> Rows:
    for change in changes:
        rows = change.apply(rows)
    return rows


async def _until_closed(work: Any) -> None:
    with suppress(ConnectionClosed, ConnectionResetError):
        await work


def main() -> None:
    """The full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for durability in ("everysec", "always"):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            torture = Torture(Path(directory), arguments.seed, durability)
            report = asyncio.run(torture.run(arguments.rounds // 2))
        print(f"{durability}: {report}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
