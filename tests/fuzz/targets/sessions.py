"""A whole session, message by message: each request has exactly one reply, whatever it is.

A refused change changes nothing (window, versions, producers, memory, subscriptions), no fault of
the server's own comes of any message, our clients can read all that the server sends, and the
connection lives, or is closed with a code that PROTOCOL states. When it is gone, so is all that it
held. Messages come all at once, or one after the other; long ones are read in pieces by chance.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import orjson
from omendb_core.model.change import RowBatch
from omendb_core.model.types import StrColumn

from omendb_ws.access.grants import Grant
from omendb_ws.access.keyring import key_entry
from omendb_ws.access.principal import OPEN, Principal
from omendb_ws.node.config import Settings
from omendb_ws.node.node import Node
from omendb_ws.sessions.receive import Receiver, greet
from omendb_ws.sessions.session import Session
from omendb_ws.wire import binary, binary_replies, long_frames, long_text, text_replies
from omendb_ws.wire.encoded import Message
from omendb_ws.wire.messages import Live, Rows
from omendb_ws.wire.opcodes import OPS
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.mutating import mutated
from tests.fuzz.target import Bounds, Target
from tests.patience import PATIENCE_SECONDS, UNHURRIED
from tests.server.raw import Clock

#: What a message begins with: whether it is text, and how long it is.
_MARK = struct.Struct("<BH")
MOST_MESSAGES = 40
LIMITS: dict[str, Any] = {
    "max_dim": 8, "max_capacity": 64, "max_rows": 16, "max_k": 20, "max_queries": 4, "max_ids": 20,
    "max_collections": 6, "max_subscriptions": 12, "max_producers": 4, "max_metadata_bytes": 200,
    "max_memory_bytes": 4 << 20, "scan_threads": 1, **UNHURRIED,
}  # fmt: skip
CLOSE_CODES = {1000, 1012, 1013, 4401, 4408}
SHOP = Grant(
    frozenset({"read", "write"}), ("*",), {"shop": "north"}, {"shop": "north"}
)  # fmt: skip
#: Who asks; None: a stranger, at a server with keys.
PEOPLE: list[Principal | None] = [
    OPEN, OPEN, OPEN, Principal.simple("reader", "default", {"read"}),
    Principal("clerk", "default", (SHOP, Grant(frozenset({"admin"}), ("*",)))), None,
]  # fmt: skip


class Program(NamedTuple):
    """What is sent, by whom, and how."""

    who: Principal | None
    one_by_one: bool
    in_pieces: bool
    messages: list[str | bytes]


def program_of(data: bytes) -> Program:
    """Of any bytes."""
    head = data[0] if data else 0
    messages = [
        payload.decode("utf-8", "replace") if is_text else payload
        for is_text, payload in records(data[1:])
    ]
    return Program(
        PEOPLE[head % len(PEOPLE)], bool(head & 64), bool(head & 128), messages[:MOST_MESSAGES]
    )


def records(data: bytes) -> Iterator[tuple[bool, bytes]]:
    at = 0
    while at + _MARK.size <= len(data):
        kind, size = _MARK.unpack_from(data, at)
        at += _MARK.size
        yield kind % 2 == 0, data[at : at + size]
        at += size


def written(head: int, parts: Sequence[tuple[bool, bytes]]) -> bytes:
    return bytes([head]) + b"".join(
        _MARK.pack(not is_text, len(payload)) + payload for is_text, payload in parts
    )


def mutated_session(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """Messages changed by what they are; sent again, left out, in another order, of others."""
    parts = list(records(data[1:]))
    known = [part for one in others for part in records(one[1:])]
    texts = [payload for is_text, payload in known if is_text]
    frames = [payload for is_text, payload in known if not is_text]
    for _ in range(chance.choice((1, 2, 3, 6))):
        kind, at = chance.randrange(8), chance.randrange(len(parts) + 1)
        if kind < 4 and at < len(parts):
            is_text, payload = parts[at]
            changed = mutated_json(payload, texts, words, chance) if is_text else mutated(
                payload, frames, words, chance
            )  # fmt: skip
            parts[at] = (is_text, changed[:3000])
        elif kind == 4:
            parts.insert(at, chance.choice(known))
        elif kind == 5 and at < len(parts):
            parts.insert(chance.randrange(len(parts)), parts[at])
        elif kind == 6 and at < len(parts):
            del parts[at]
        elif parts:
            parts.insert(at, parts.pop(chance.randrange(len(parts))))
    return written(chance.randrange(256), parts)


# -- running ------------------------------------------------------------------------------------


def fuzz(data: bytes) -> None:
    program = program_of(data)
    with (
        patch.object(long_text, "MOST_CHARACTERS", 150 if program.in_pieces else 1 << 16),
        patch.object(long_frames, "MOST_JSON_BYTES", 40 if program.in_pieces else 1 << 16),
    ):
        was_enabled = gc.isenabled()
        gc.disable()  # what is gone must go without it
        try:
            asyncio.run(_run(program))
        finally:
            if was_enabled:
                gc.enable()


def key_file(*rights: str) -> str:
    """Of one key."""
    return _key_file(rights)[0]


@cache
def _key_file(rights: tuple[str, ...]) -> tuple[str, tempfile.TemporaryDirectory[str]]:
    directory = tempfile.TemporaryDirectory()
    path = Path(directory.name) / "keys.toml"
    path.write_text(key_entry("reader", "default", rights, "token-reader"))
    path.chmod(0o600)
    return str(path), directory


async def _run(program: Program) -> None:
    keys = {"api_key_file": key_file("read", "write")} if program.who is None else {}
    node = Node(Settings(port=0, **LIMITS, **keys), clock_us=Clock())
    node.start()
    session = node.open_session(program.who)
    side = _Side(session)
    is_open = True
    try:
        receiver = Receiver(session)
        greet(session)
        for message in program.messages:
            # Only then the engine has nothing under way that changes what is looked at.
            before = state_of(node, session) if program.one_by_one else None
            seen = len(side.errors)
            side.sent(message)
            receiver.receive(message)
            if program.one_by_one or not session.has_room:
                await side.settle()
                if program.one_by_one and len(side.errors) > seen and not session.is_refused:
                    assert state_of(node, session) == before, (message, side.errors[seen:])
        await side.settle()
        check(node, side, is_refused=session.is_refused)
        if side.close is None and not session.is_refused:
            receiver.receive('{"id":4000000000,"op":"ping"}')
            await side.settle()
            assert side.replies[4_000_000_000] >= 1
        node.close_session(session)
        is_open = False
        assert node.context.metrics.subscriptions.total() == 0
    finally:
        if is_open:
            node.close_session(session)
        await node.stop()
    assert node.context.metrics.faults == 0
    async with asyncio.timeout(PATIENCE_SECONDS):  # a map's plane is made by a thread of its own
        while node.context.catalog.reserved_bytes:  # noqa: ASYNC110 - given back by that
            await asyncio.sleep(0)


def state_of(node: Node, session: Session) -> Any:
    """All that a refused request must leave as it is."""
    return windows_of(node), sorted(session.subscriptions), session.principal


def windows_of(node: Node) -> list[Any]:
    """What there is in them."""
    return [
        (one.tenant, one.name, one.epoch, one.window.version, one.window.first_seq,
         one.window.last_seq, one.window.rows, one.window.payload_bytes,
         repr(one.window.admission.admitted.producers.state()))
        for one in node.context.catalog.shards()
        if hasattr(one, "window")  # it is made by the engine
    ]  # fmt: skip


def check(node: Node, side: _Side, *, is_refused: bool) -> None:
    for shard in node.context.catalog.shards():
        if hasattr(shard, "window"):
            shard.window.check()
    if side.close is not None:
        assert side.close in CLOSE_CODES
    if side.close is None and not is_refused:
        assert side.replies == side.asked
        assert side.without_id == side.asked_without_id
    else:
        assert side.replies <= side.asked
    assert "internal" not in side.errors


class _Side:
    """The client's side: what it asked, and what came."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.asked: Counter[int] = Counter()
        self.replies: Counter[int] = Counter()
        self.asked_without_id = self.without_id = 0
        self.errors: list[str] = []
        self.close: int | None = None
        self._news = asyncio.Event()
        session.outbox.on_filled = self._news.set

    def sent(self, message: str | bytes) -> None:
        """Before it goes: what has to come of it."""
        id = id_of(message)
        if id is None:
            self.asked_without_id += 1
        else:
            self.asked[id] += 1

    async def settle(self) -> None:
        """Return once all is answered, or the connection has been closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                self._news.clear()
                self._take()
                if self.session.is_idle or self.close is not None:
                    return
                if self.session.has_room:
                    self.session.when_answered(self._news.set)
                else:
                    self.session.when_room(self._news.set)
                await self._news.wait()
                await asyncio.sleep(0)

    def _take(self) -> None:
        outbox = self.session.outbox
        while True:
            batch = outbox.take()
            for message in batch.messages:
                self._came(message)
            outbox.sent(batch)
            if batch.close is not None:
                self.close = batch.close.code
            if not batch.messages or batch.close is not None:
                return

    def _came(self, message: Message) -> None:
        if not message.is_text:
            found = binary_replies.decode_incoming(message.data)
            if not isinstance(found, Live | Rows):
                self.replies[found[0]] += 1
            return
        body = orjson.loads(message.data)
        text_replies.decode_incoming(message.data)
        if "id" in body:
            self.replies[body["id"]] += 1
            if "error" in body:
                self.errors.append(body["error"]["code"])
        elif body["event"] == "error":
            self.without_id += 1
            self.errors.append(body["code"])


def id_of(message: str | bytes) -> int | None:
    """The id that a reply must have, read by itself."""
    if isinstance(message, bytes):
        is_frame = message[:2] == b"\xdb\x01" and len(message) >= 8
        return int.from_bytes(message[4:8], "little") if is_frame else None
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        if "infinity" not in str(error):
            return None
        try:
            body = json.loads(message)
        except (ValueError, RecursionError):
            return None
    id = body.get("id") if isinstance(body, dict) else None
    return id if type(id) is int and 0 <= id < 2**32 else None


# -- seeds --------------------------------------------------------------------------------------


def _text(**fields: Any) -> tuple[bool, bytes]:
    return True, orjson.dumps(fields)


def _rows(ids: str, *keys: Any) -> list[dict[str, Any]]:
    return [
        ({} if ids == "auto" else {"id": key})
        | {"vector": [n + 0.5, 1, -1], "metadata": {"shop": "north", "price": n, "on": n > 1}}
        for n, key in enumerate(keys)
    ]


def _session(ids: str, keys: list[Any], metric: str) -> list[tuple[bool, bytes]]:
    """Every op, most with all that they take."""
    of = {"collection": "items"}
    columns = {"shop": "str", "price": "f64", "n": "i64", "on": "bool"}
    shape = {"group": {"by": "shop", "size": 2}, "decay": {"half_life": 60}}
    batch = RowBatch(
        np.eye(3, dtype=np.float32)[: len(keys)],
        None if ids == "auto" else np.array(keys, np.uint64) if ids == "u64" else keys,
        columns={"shop": StrColumn(np.zeros(len(keys), np.uint32), ("north",))},
        metadata=None,
    )
    query = np.ones((2, 3), np.float32)
    return [
        _text(id=1, op="create", dim=3, capacity=8, metric=metric, ids=ids, columns=columns, **of),
        _text(id=2, op="add", rows=_rows(ids, *keys), producer="p", batch=1, **of),
        (False, binary.encode_add(3, 1, batch, "p", 2)),
        (False, binary.encode_add(4, 1, batch, unless_near={"score": 0.9})),
        _text(id=5, op="search", vector=[1, 2, 3], k=3, include=["metadata", "vector"], **of),
        _text(id=6, op="search", like=keys[0], filter={"price": {"$lt": 2}}, **shape, **of),
        (False, binary.encode_search(7, 1, query, 4)),
        (False, binary.encode_search(8, 1, query, 4, {"on": True}, 0.1, shaping=shape)),
        _text(id=9, op="subscribe", kind="live", vector=[1, 0, 0], k=2, every=10, **of),
        _text(id=10, op="subscribe", kind="match", vector=[1, 0, 0], min_score=0.1, **of),
        _text(id=11, op="subscribe", kind="feed", include=["metadata"], encoding="binary", **of),
        _text(id=12, op="subscribe", kind="novel", below=0.9, **of),
        _text(id=13, op="subscribe", kind="count", by="shop", every=10, **of),
        _text(id=14, op="subscribe", kind="map", sample=100, **of),
        (False, binary.encode_subscribe(15, 1, query, 2, {"shop": "north"})),
        (False, binary.encode_subscribe_match(31, 1, query, 0.1, {"shop": "north"})),
        _text(id=16, op="update", rows=[{"id": keys[0], "metadata": {"price": 7}}], **of),
        _text(id=17, op="move", sub=1, vector=[0, 1, 0], filter={"price": 1}),
        (False, binary.encode_move(18, 1, query[:1], {"min_score": 0.5})),
        _text(id=19, op="get", ids=keys, include=["metadata"], **of),
        _text(id=20, op="count", filter={"shop": "north"}, by="price", **of),
        _text(id=21, op="delete", ids=keys[:1], **of),
        _text(id=22, op="unsubscribe", sub=2),
        _text(id=23, op="stats", **of), _text(id=24, op="stats"), _text(id=25, op="usage"),
        _text(id=36, op="cluster"), _text(id=37, op="evacuate", node="a"),
        _text(id=38, op="move_owner", to="a", **of), _text(id=39, op="heal", **of),
        _text(id=40, op="subscribe", kind="cluster", every=100),
        _text(id=26, op="describe", **of), _text(id=27, op="list"), _text(id=28, op="open", **of),
        _text(id=29, op="auth", token="token-reader"), _text(id=30, op="ping"),
        _text(id=32, op="snapshot", **of), _text(id=33, op="snapshot", snapshot=1),
        _text(id=34, op="restore", collection="again"),
        (False, binary.encode_restore(35, 1, b"OMEN")),
        _text(id=31, op="drop", **of),
    ]  # fmt: skip


def made() -> Mapping[str, bytes]:
    shapes = [
        ("u64", [7, 8, 9], "cosine"),
        ("str", ["a", "é", "c"], "l2"),
        ("auto", [1, 2, 3], "dot"),
    ]
    found = {}
    for number, (ids, keys, metric) in enumerate(shapes):
        whole = _session(ids, keys, metric)
        found[f"{ids}-at-once"] = written(number % 3, whole)
        found[f"{ids}-one-by-one"] = written(66 + number, whole)
        found[f"{ids}-in-pieces"] = written(132 + 60, whole[:12])
    return found


FIELDS = sorted({one.name for op in OPS.values() for one in op.fields})
WORDS = [name.encode() for name in (*FIELDS, *OPS, "items", "live", "u64", "str", "token-reader")]
TARGET = Target(
    "sessions",
    fuzz,
    mutated_session,
    WORDS,
    made,
    most_bytes=12_000,
    runs=150,
    bounds=Bounds(calls=200_000, calls_per_byte=500, peak_bytes=24 << 20, peak_bytes_per_byte=4000),
)
