"""A WebSocket server that asks an HTTP API: so every client of the project speaks HTTP, too.

Each message becomes a request over HTTP, and its answer a reply. What HTTP has no route for is
``unsupported``, said by ``NOT_OVER_HTTP``; the tests of that are skipped (``conftest.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson
from omendb_core.model.types import Hits
from websockets.asyncio.server import ServerConnection, serve

from omendb_ws.net.server import Server
from omendb_ws.wire import binary, binary_replies, live
from omendb_ws.wire.binary_replies import encode_added
from omendb_ws.wire.messages import Added, LivePushes, Refusal, Results, Rows
from omendb_ws.wire.opcodes import LEAVE_REASONS
from tests.patience import PATIENCE_SECONDS
from tests.server.http.api.event_reader import EventReader, Read

NOT_OVER_HTTP = "not over HTTP"
STREAMS = ("live", "match", "feed", "novel", "stats")
Body = dict[str, Any]


class Refused(Exception):
    def __init__(self, fault: Body) -> None:
        super().__init__(fault)
        self.fault = fault


def unsupported() -> Refused:
    return Refused({"code": "unsupported", "message": NOT_OVER_HTTP, "retry": False})


class Bridge:
    """One connection."""

    def __init__(self, socket: ServerConnection, web: httpx.AsyncClient, server: Server) -> None:
        self.socket = socket
        self.web = web
        self.server = server
        self.handles: dict[int, Body] = {}
        self.streams: dict[int, asyncio.Task[None]] = {}
        self.last_sub = 0

    async def run(self) -> None:
        hello = {
            "event": "hello", "protocol": "omendb.v1", "server": "bridge", "auth": "none",
            "limits": self.server.context.limits.as_hello(),
        }  # fmt: skip
        await self.socket.send(orjson.dumps(hello), text=True)
        try:
            async for message in self.socket:
                await self.answer(message)
        finally:
            for task in self.streams.values():
                task.cancel()
            if self.streams:
                await asyncio.wait(self.streams.values())

    async def answer(self, message: str | bytes) -> None:
        is_binary = isinstance(message, bytes)
        request_id, begun = 0, list[Any]()
        try:
            if isinstance(message, bytes):
                request_id = int.from_bytes(message[4:8], "little")
                body = self.as_text(message)
            else:
                body = orjson.loads(message)
            request_id, op = body.pop("id"), body.pop("op")
            ok = await self.do(op, body, begun)
        except Refused as refused:
            reply = orjson.dumps({"id": request_id, "error": refused.fault})
            await self.socket.send(reply, text=True)
            return
        if is_binary:
            await self.socket.send(self.as_frame(request_id, op, body, ok))
        else:
            await self.socket.send(orjson.dumps({"id": request_id, "ok": ok}), text=True)
        for start in begun:
            start()

    # -- frames -----------------------------------------------------------------------------------

    def as_text(self, frame: bytes) -> Body:
        """A binary request as JSON."""
        limits = self.server.context.limits
        request: Any = binary.decode_request(
            frame, limits, lambda handle: self.handles[handle]["columns"]
        )
        if isinstance(request, Refusal):
            raise unsupported()  # the frame itself is at fault
        handle = getattr(request, "collection", None)
        if request.op == "move":
            return {"id": request.id, "op": "move"}
        name = self.handles[handle]["collection"]
        if request.op == "add":
            return self.add_as_text(request, name)
        body: Body = orjson.loads(frame[32 : 32 + int.from_bytes(frame[24:28], "little")] or b"{}")
        body |= {"id": request.id, "op": request.op, "collection": name, "k": request.k}
        if request.vectors is not None:
            body["vectors"] = request.vectors.tolist()
        return body

    def add_as_text(self, request: Any, name: str) -> Body:
        batch = request.rows
        if isinstance(batch, Exception):
            raise unsupported()  # so is this one
        objects = [dict(one or {}) for one in batch.metadata or [None] * len(batch.vectors)]
        for column, values in batch.columns.items():
            for one, value in zip(objects, _listed(values), strict=True):
                if value is not None:
                    one[column] = value
        ids = [None] * len(objects) if batch.ids is None else list(batch.ids)
        rows = [
            {"vector": vector, "metadata": one}
            | ({} if id_ is None else {"id": id_ if isinstance(id_, str) else str(int(id_))})
            for id_, vector, one in zip(ids, batch.vectors.tolist(), objects, strict=True)
        ]
        body = {"id": request.id, "op": "add", "collection": name, "rows": rows}
        for field in ("producer", "batch", "unless_near"):
            if getattr(request, field) is not None:
                body[field] = getattr(request, field)
        return body

    def as_frame(self, request_id: int, op: str, body: Body, ok: Any) -> bytes:
        if op == "add":
            near = ok.get("near")
            if near is not None and not any(isinstance(one, str) for one in near):
                near = np.array([int(one) for one in near], np.uint64)
            return encode_added(
                request_id,
                Added(
                    ok["version"], ok["first_seq"], ok["last_seq"], ok.get("duplicate", False),
                    "unless_near" in body, ok.get("skipped"), near,
                ),
            )  # fmt: skip
        body["_is_snapshot"] = True
        lists = ok["results"] if op == "search" else [one["results"] for one in ok]
        if op == "search" and "vectors" not in body:
            lists = [lists]
        whole = ok if op == "search" else ok[0]
        hits = self.hits([row for rows in lists for row in rows], body)
        counts = np.array([len(rows) for rows in lists], np.uint32)
        subs = None if op == "search" else [one["sub"] for one in ok]
        results = Results(whole["version"], counts, hits, 0, subs, whole.get("at"))
        return binary_replies.encode_results(request_id, results)

    def hits(self, rows: list[Body], asked: Body, *, scored: bool = True) -> Hits:
        """Rows of JSON as arrays, with what was asked for."""
        name = asked["collection"]
        described = next(one for one in self.handles.values() if one["collection"] == name)
        include, is_str = asked.get("include") or [], described["ids"] == "str"

        def column(field: str, dtype: Any) -> Any:
            values = [row.get(field) for row in rows]
            return np.array([np.nan if one is None else one for one in values], dtype)

        ids: Any = [row["id"] for row in rows]
        if not is_str:
            ids = np.array([int(one) for one in ids], np.uint64)
        is_ranked = "decay" in asked or "rank" in asked
        vectors = None
        if "vector" in include:
            flat = [row["vector"] for row in rows]
            vectors = np.array(flat, np.float32).reshape(len(rows), described["dim"])
        near = [row.get("near") for row in rows] if rows and "near" in rows[0] else None
        scores = column("score", np.float32)
        if near is not None:
            scores[[one is None for one in near]] = -np.inf
            near = near if is_str else np.array([int(one or 0) for one in near], np.uint64)
        return Hits(
            ids,
            column("seq", np.uint64) if rows else np.zeros(0, np.uint64),
            scores if scored else None,
            [orjson.dumps(row["metadata"]) for row in rows] if "metadata" in include else None,
            vectors,
            column("rank", np.float64) if is_ranked else None,
            column("weight", np.float32)
            if "decay" in asked and asked.get("_is_snapshot")
            else None,
            near,
        )

    # -- over HTTP --------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Body | None = None, **params: Any) -> Any:
        answer = await self.web.request(
            method,
            path,
            params=params,
            content=None if body is None else orjson.dumps(body),
            headers={} if body is None else {"Content-Type": "application/json"},
        )
        found = orjson.loads(answer.content)
        if answer.status_code != 200:
            raise Refused(found["error"])
        return found

    async def do(self, op: str, body: Body, begun: list[Any]) -> Any:
        if op == "ping":
            return {}
        if op == "list":
            return await self.ask("GET", "/v1/collections")
        if op == "unsubscribe":
            self.streams.pop(body["sub"]).cancel()
            return {}
        if op == "create":
            return self.opened(await self.ask("POST", "/v1/collections", body))
        if "collection" not in body:
            raise unsupported()
        path = f"/v1/collections/{quote(body['collection'], safe='')}"
        rest = {name: value for name, value in body.items() if name != "collection"}
        match op:
            case "open":
                return self.opened(await self.ask("GET", path))
            case "describe":
                return await self.ask("GET", path)
            case "drop":
                return await self.ask("DELETE", path)
            case "add":
                given = {name: rest.pop(name) for name in ("producer", "batch") if name in rest}
                return await self.ask("POST", f"{path}/rows", rest, **given)
            case "delete" | "get":
                return await self.ask("POST", f"{path}/rows/{op}", rest)
            case "update" if len(rest["rows"]) == 1:
                row = dict(rest["rows"][0])
                row_id = quote(str(row.pop("id")), safe="")
                return await self.ask("PATCH", f"{path}/rows/{row_id}", row)
            case "search":
                return await self.ask("POST", f"{path}/search", rest)
            case "count":
                return await self.ask("POST", f"{path}/count", rest)
            case "subscribe":
                return await self.subscribe(path, body, rest, begun)
        raise unsupported()

    def opened(self, description: Body) -> Body:
        for handle, one in self.handles.items():
            if one["epoch"] == description["epoch"]:
                return {**description, "handle": handle}
        handle = len(self.handles) + 1
        self.handles[handle] = description
        return {**description, "handle": handle}

    # -- streams ----------------------------------------------------------------------------------

    async def subscribe(self, path: str, body: Body, rest: Body, begun: list[Any]) -> Any:
        vectors = rest.pop("vectors", None)
        kind = rest.pop("kind", "live")
        if kind not in STREAMS:
            raise unsupported()
        is_binary = rest.pop("encoding", "json") == "binary"
        asked = {**body, "kind": kind, "_is_binary": is_binary}
        if vectors is None:
            return await self.begin(f"{path}/{kind}", asked, rest, begun, is_many="k" in body)
        return [
            (await self.begin(f"{path}/{kind}", asked, {**rest, "vector": one}, begun))
            for one in vectors
        ]

    async def begin(
        self, path: str, asked: Body, rest: Body, begun: list[Any], *, is_many: bool = False
    ) -> Any:
        reader, events = EventReader(), asyncio.Queue[Read | None]()
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def follow() -> None:
            headers = {"Content-Type": "application/json"}
            async with self.web.stream(
                "POST", path, content=orjson.dumps(rest), headers=headers
            ) as answer:
                if answer.status_code != 200:
                    fault = orjson.loads(await answer.aread())["error"]
                    answered.set_exception(Refused(fault))
                    return
                answered.set_result(None)
                async for data in answer.aiter_raw():
                    for event in reader.feed(data):
                        events.put_nowait(event)
            events.put_nowait(None)

        task = asyncio.create_task(follow())
        await answered
        self.last_sub += 1
        sub = self.last_sub
        ok: Body = {"sub": sub}
        if asked["kind"] != "stats":
            first = await events.get()
            assert first is not None
            body = orjson.loads(first.data)
            kept = ("epoch", "version", "results", "at", "to_seq")
            ok |= {name: body[name] for name in kept if name in body}
            ok["epoch"] = first.id.rpartition(":")[0]

        async def relay() -> None:
            try:
                while (event := await events.get()) is not None:
                    await self.push(event, sub, asked)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        def start() -> None:
            self.streams[sub] = asyncio.create_task(relay())

        begun.append(start)
        return [ok] if is_many else ok

    async def push(self, event: Read, sub: int, asked: Body) -> None:
        body = orjson.loads(event.data)
        body["sub"] = sub
        if not asked["_is_binary"] or event.name not in STREAMS:
            await self.socket.send(orjson.dumps(body), text=True)
        elif event.name == "live":
            await self.socket.send(self.live_frame(body, asked))
        else:
            scored = event.name != "feed"
            hits = self.hits(body["rows"], asked, scored=scored)
            rows = Rows(sub, event.name, body["version"], body["to_seq"], hits)  # type: ignore[arg-type]
            await self.socket.send(binary_replies.encode_rows(rows))

    def live_frame(self, body: Body, asked: Body) -> bytes:
        leave = body["leave"]
        (frame,) = live.encode_binary(
            LivePushes(
                body["version"], [body["sub"]], [len(leave)], [one["id"] for one in leave],
                np.array([one["seq"] for one in leave], np.uint64),
                np.array([LEAVE_REASONS.index(one["reason"]) for one in leave], np.uint8),
                [len(body["enter"])], self.hits(body["enter"], asked),
            )
        )  # fmt: skip
        return frame


def _listed(values: Any) -> list[Any]:
    """A column of a binary add as JSON values."""
    if hasattr(values, "dictionary"):
        return [
            None if code == 2**32 - 1 else values.dictionary[code] for code in values.codes.tolist()
        ]
    if values.dtype == np.uint8:
        return [bool(one) for one in values.tolist()]
    return [None if one != one else one for one in values.tolist()]


@asynccontextmanager
async def bridged(server: Server) -> AsyncIterator[str]:
    """The address of a bridge to the HTTP API of ``server``."""
    assert server.http_url is not None

    async def connected(socket: ServerConnection) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=server.http_url or "", timeout=PATIENCE_SECONDS, trust_env=False, limits=limits
        ) as web:
            await Bridge(socket, web, server).run()

    async with serve(
        connected, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None,
        subprotocols=["omendb.v1"],  # type: ignore[list-item]
    ) as bridge:  # fmt: skip
        port = next(iter(bridge.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1"
