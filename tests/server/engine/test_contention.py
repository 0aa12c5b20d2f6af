"""Everything at once: of each request one reply, each connection's order, and one serial history.

Connections of two tenants send requests of every kind without waiting, in ticks that do almost
nothing each, so that all of them contend. Versions say in what order the changes took effect; a
model that does them in that order must say what every answer said.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from omendb_ws.engine import changing, read_weights
from omendb_ws.engine.model import shares
from omendb_ws.engine.pieces import long_reads
from omendb_ws.engine.reads import long_answers
from omendb_ws.engine.writes import preparing
from omendb_ws.net.server import Server

from ..raw import Raw, client, with_keys

CAPACITY: Final = 20
COLUMNS: Final = {"price": "f64", "kind": "str"}
SHARED: Final = {"plain": "memory", "logged": "everysec", "flushed": "always"}
TOKENS: Final = ("token-root", "token-root", "token-boss", "token-other", "token-other")
REQUESTS: Final = 160
IDS: Final = range(30)
NEAR: Final = 14.0


@pytest.fixture(autouse=True)
def _small_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "TICK_CHANGES_US", 0)
    monkeypatch.setattr(read_weights, "TICK_QUERIES", 2)
    monkeypatch.setattr(shares, "SLACK_US", 200.0)
    monkeypatch.setattr(long_reads, "SLICE_US", 0)
    monkeypatch.setattr(long_answers, "AT_ONCE_US", 10.0)
    monkeypatch.setattr(preparing, "SLICE_US", 0)
    monkeypatch.setattr(preparing, "AT_ONCE_US", 0.0)
    monkeypatch.setattr(preparing, "VALUES_AT_ONCE", 4)


class Contended:
    """In how many ticks somebody waited for others."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks = 0
        shares = server.context.engine.tick._shares
        end_tick = shares.end_tick

        def counted(*waiting: Iterable[Any]) -> None:
            end_tick(*waiting)
            self.ticks += shares.is_contended

        monkeypatch.setattr(shares, "end_tick", counted)


@dataclass
class Asked:
    """A request, and its reply."""

    op: str
    collection: str
    fields: dict[str, Any]
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int | None:
        """Which one it says that it led to, or reflects."""
        version: int | None = self.reply.get("ok", {}).get("version")
        return version


def any_row(numbers: random.Random, id: int) -> dict[str, Any]:
    vector = [float(numbers.randint(-4, 4)) for _ in range(2)]
    metadata = {"price": float(numbers.randint(0, 9)), "kind": numbers.choice("abc")}
    return {"id": id, "vector": vector, "metadata": metadata}


def any_rows(numbers: random.Random) -> list[dict[str, Any]]:
    ids = numbers.sample(IDS, numbers.randint(1, 6))
    return [any_row(numbers, id) for id in ids]


def requests_of(numbers: random.Random, name: str) -> list[Asked]:
    """What one connection asks of collections that others write to as well, and of one of its own
    that it drops and makes again."""
    asked = []
    batches: Counter[str] = Counter()
    own_is_there = False
    for _ in range(REQUESTS):
        shared = numbers.choice(list(SHARED))
        op = numbers.choice(
            ["add", "near", "batch", "update", "delete", "get", "count", "search", "many", "own"]
        )
        fields: dict[str, Any] = {}
        if op in ("add", "near", "batch"):
            fields["rows"] = any_rows(numbers)
            if op == "near":
                fields["unless_near"] = {"score": NEAR}
            if op == "batch":
                batches[shared] += 1
                fields |= {"producer": name, "batch": batches[shared]}
            op = "add"
        elif op == "update":
            row = any_row(numbers, numbers.choice(IDS))
            fields["rows"] = [{"id": row["id"], "metadata": row["metadata"]}]
        elif op in ("delete", "get"):
            fields["ids"] = numbers.sample(IDS, numbers.randint(0, 4))
        elif op == "count":
            fields["filter"] = {"price": {"$gte": numbers.randint(0, 9)}}
        elif op in ("search", "many"):
            vectors = [[float(numbers.randint(-4, 4)) for _ in range(2)] for _ in range(3)]
            fields |= {"vector": vectors[0]} if op == "search" else {"vectors": vectors}
            fields |= {"k": numbers.randint(1, 8)}
            if numbers.random() < 0.5:
                fields["filter"] = {"kind": numbers.choice("abc")}
            op = "search"
        elif own_is_there and numbers.random() < 0.5:
            op, shared, own_is_there = "drop", name, False
        elif own_is_there:
            op, shared, fields = "add", name, {"rows": any_rows(numbers)}
        else:
            op, shared, own_is_there = "create", name, True
            durability = numbers.choice(list(SHARED.values()))
            fields = {"dim": 2, "capacity": 8, "metric": "dot", "durability": durability}
            fields["columns"] = COLUMNS
        asked.append(Asked(op, shared, fields))
    return asked


async def ask_all(raw: Raw, asked: list[Asked]) -> None:
    """Send all of them, and read exactly one reply to each, whatever their order."""
    ids = {await raw.send(one.op, collection=one.collection, **one.fields): one for one in asked}
    while not all(one.reply for one in asked):
        message = await raw.message()
        one = ids[message["id"]]
        assert not one.reply, "a second reply"
        one.reply = message


class Model:
    """A collection, whose changes come one by one; ``rows``: by seq, oldest first."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.rows: dict[int, dict[str, Any]] = {}
        self.versions: list[dict[int, dict[str, Any]]] = [{}]

    def change(self, one: Asked) -> None:
        ok = one.reply["ok"]
        if one.op == "add":
            self._add(one, ok)
        elif one.op == "delete":
            gone = {row["id"] for row in self.rows.values()} & set(one.fields["ids"])
            assert ok["deleted"] == len(gone)
            self.rows = {seq: row for seq, row in self.rows.items() if row["id"] not in gone}
        else:
            (changed,) = one.fields["rows"]
            assert changed["id"] in {row["id"] for row in self.rows.values()}
            self.rows = {
                seq: {**row, "metadata": changed["metadata"]} if row["id"] == changed["id"] else row
                for seq, row in self.rows.items()
            }
        self.versions.append(dict(self.rows))

    def _add(self, one: Asked, ok: dict[str, Any]) -> None:
        rows, skipped = one.fields["rows"], []
        if "unless_near" in one.fields:
            known = list(self.rows.values())
            taken = []
            for place, row in enumerate(rows):
                others = [other for other in known if other["id"] != row["id"]] + taken
                score = one.fields["unless_near"]["score"]
                if any(dot(row["vector"], other["vector"]) >= score for other in others):
                    skipped.append(place)
                else:
                    taken.append(row)
            assert ok["skipped"] == skipped
            rows = taken
        assert ok["first_seq"] == self.last_seq + 1
        for row in rows:
            self.rows = {seq: old for seq, old in self.rows.items() if old["id"] != row["id"]}
            self.last_seq += 1
            self.rows[self.last_seq] = row
        assert ok["last_seq"] == self.last_seq
        self.rows = {seq: row for seq, row in self.rows.items() if seq > self.last_seq - CAPACITY}

    def check_read(self, one: Asked) -> None:
        """What it was told is what was there at the version that it was told."""
        assert one.version is not None
        ok, fields, rows = one.reply["ok"], one.fields, self.versions[one.version]
        if one.op == "get":
            found = {row["id"]: seq for seq, row in rows.items()}
            told = [None if row is None else row["seq"] for row in ok["rows"]]
            assert told == [found.get(id) for id in fields["ids"]]
        elif one.op == "count":
            least = fields["filter"]["price"]["$gte"]
            assert ok["count"] == sum(row["metadata"]["price"] >= least for row in rows.values())
        elif "vector" in fields:
            assert seqs(ok["results"]) == best(rows, fields["vector"], fields)
        else:
            told = [seqs(results) for results in ok["results"]]
            assert told == [best(rows, vector, fields) for vector in fields["vectors"]]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def seqs(results: list[dict[str, Any]]) -> list[int]:
    return [result["seq"] for result in results]


def best(rows: dict[int, dict[str, Any]], vector: list[float], fields: dict[str, Any]) -> list[int]:
    kind = fields.get("filter", {}).get("kind")
    found = [
        (dot(row["vector"], vector), seq)
        for seq, row in rows.items()
        if kind in (None, row["metadata"]["kind"])
    ]
    return [seq for _, seq in sorted(found, reverse=True)[: fields["k"]]]


CHANGES: Final = ("add", "update", "delete")


def check_order(asked: list[Asked], collection: str) -> None:
    """A connection's changes go forward, and its reads are not behind them."""
    version = 0
    for one in asked:
        if one.collection != collection or one.version is None:
            continue
        assert one.version >= version
        if one.op in CHANGES:
            version = one.version


def check_history(everyone: list[list[Asked]], collection: str) -> int:
    """One history says it all; how many changes it has."""
    here = [one for asked in everyone for one in asked if one.collection == collection]
    model = Model()
    changed = [one for one in here if one.op in CHANGES and one.version is not None]
    of_version: dict[int, list[Asked]] = {}
    for one in changed:
        assert one.version is not None
        ok = one.reply["ok"]
        if one.op == "delete" and not ok["deleted"]:
            continue
        if one.op == "add" and ok["first_seq"] is None:
            continue
        of_version.setdefault(one.version, []).append(one)
    assert sorted(of_version) == list(range(1, len(of_version) + 1))
    for version in sorted(of_version):
        (one,) = of_version[version]
        model.change(one)
    for one in here:
        if one.op not in CHANGES:
            model.check_read(one)
    return len(of_version)


def check_outcomes(asked: list[Asked], name: str) -> None:
    """What may be refused is an update of what is not there."""
    for one in asked:
        if "error" in one.reply:
            assert one.op == "update", one
            assert one.reply["error"]["code"] == "not_found"
    for one in asked:
        if one.collection == name and one.op == "create":
            assert one.reply["ok"]["last_seq"] == 0


@pytest.mark.parametrize("seed", range(6))
async def test_all_that_contend_get_one_reply_each_and_one_history(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = random.Random(seed)
    async with Server(with_keys(tmp_path, data_dir=str(tmp_path / "data"))) as server:
        for token in ("token-root", "token-other"):
            async with client(server, token=token) as raw:
                for name, durability in SHARED.items():
                    fields = {"columns": COLUMNS, "durability": durability}
                    await raw.create(name, capacity=CAPACITY, **fields)
        contended = Contended(server, monkeypatch)
        everyone = await everybody(server, numbers)
        assert contended.ticks > 100
        for tenant in ("acme", "umbrella"):
            of_tenant = [asked for who, asked in everyone if tenant_of(who) == tenant]
            for name in SHARED:
                assert check_history(of_tenant, name) > 20
                server.context.catalog.find(tenant, name).shard.window.check()


def tenant_of(token: str) -> str:
    return "umbrella" if token == "token-other" else "acme"


async def everybody(server: Server, numbers: random.Random) -> list[tuple[str, list[Asked]]]:
    """All of them at once; what each asked."""

    async def one(place: int, token: str) -> tuple[str, list[Asked]]:
        name = f"own-{place}"
        asked = requests_of(random.Random(numbers.random()), name)
        if token == "token-boss":  # it may not create
            asked = [one for one in asked if one.collection != name]
        async with client(server, token=token) as raw:
            await ask_all(raw, asked)
        check_outcomes(asked, name)
        for collection in SHARED:
            check_order(asked, collection)
        return token, asked

    return list(await asyncio.gather(*(one(*known) for known in enumerate(TOKENS))))
