"""The HTTP API, request by request each whole one is answered, as is documented.

No answer is a fault of the server's own (500), whatever comes; its status is one that
``/openapi.json`` has for the route, its body is as long as it says, and a refusal's is the error
object whose code goes with the status. A change that is refused changes nothing. When the
connections are gone, so is all that they held, and the server answers the next one.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import orjson
from omendb_core.model.errors import BY_CODE

from omendb_ws.http.api.refusals import status_of
from omendb_ws.net.server import Server
from tests.fuzz.http_line import Answer, Line
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.mutating import mutated
from tests.fuzz.target import Bounds, Target
from tests.fuzz.targets.sessions import LIMITS, key_file, records, windows_of, written
from tests.patience import eventually
from tests.server.raw import Clock, settings

_MOST_REQUESTS: Final = 30
_FIRST_LINE: Final = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n")
#: Where no route has the path, or not with that method; and of what is no request at all.
_ELSEWHERE: Final = frozenset({200, 204, 400, 401, 403, 404, 405, 413, 415, 429, 431, 501, 503})
#: Statuses that no error code has, by the code that their error object says instead.
_OWN_STATUS: Final = {405: "bad_request", 415: "bad_request", 431: "bad_request"}


def fuzz(data: bytes) -> None:
    asyncio.run(_run(data[0] if data else 0, [one for _, one in records(data[1:])]))


async def _run(head: int, requests: Sequence[bytes]) -> None:
    """``head``: whether the server has keys, and in what steps bytes come."""
    keys = {"api_key_file": key_file("admin", "read", "write")} if head % 4 == 3 else {}
    step = (1 << 16, 1 << 16, 512, 7)[head // 4 % 4]
    async with Server(
        settings(http_port=0, http_default_capacity=64, **LIMITS, **keys), clock_us=Clock()
    ) as server:
        lines = [Line(server, step)]
        documented = _routes(await lines[0].document())
        for request in requests[:_MOST_REQUESTS]:
            if not lines[-1].is_clean:
                lines.append(Line(server, step))
            before = windows_of(server.node)
            answers = await lines[-1].ask(request)
            for answer in answers:
                _check(answer, request, documented)
            is_one = len(answers) == 1 and b" /vectors/" not in request  # whose first makes two
            if is_one and answers[0].status >= 400:
                assert windows_of(server.node) == before, request
        await _gone(server, lines)
        lines = [Line(server, step)]
        await lines[0].document()
        await _gone(server, lines)
        assert server.metrics.faults == 0
        for shard in server.context.catalog.shards():
            shard.window.check()


async def _gone(server: Server, lines: list[Line]) -> None:
    """The connections go, and leave nothing."""
    for line in lines:
        line.end()
    await eventually(lambda: not server.metrics.connections)
    await eventually(lambda: not server.metrics.subscriptions.total())
    await eventually(lambda: not server._known.held_bytes and not server._strangers.held_bytes)


# -- what came ----------------------------------------------------------------------------------


_Route: TypeAlias = tuple[re.Pattern[bytes], str, frozenset[int]]


def _routes(document: Any) -> list[_Route]:
    """Of each route its path, its method, and the statuses that it may have."""
    found = []
    for path, operations in document["paths"].items():
        pattern = re.escape(path).replace(r"\{id\}", ".+").replace(r"\{collection\}", "[^/]+")
        for method, operation in operations.items():
            statuses = frozenset(map(int, operation["responses"]))
            found.append((re.compile(pattern.encode(), re.DOTALL), method.upper(), statuses))
    return found


def _check(answer: Answer, request: bytes, routes: Sequence[_Route]) -> None:
    assert answer.status != 500, (request, answer)
    first = _FIRST_LINE.match(request)
    may_be = _ELSEWHERE
    if first:
        path = unquote_to_bytes(first[2].partition(b"?")[0])
        fitting = [
            statuses
            for pattern, method, statuses in routes
            if method == first[1].decode() and pattern.fullmatch(path)
        ]
        may_be = frozenset().union(*fitting) if fitting else _ELSEWHERE
    assert answer.status in may_be, (request, answer, sorted(may_be))
    if answer.body is None:
        return
    body = gzip.decompress(answer.body) if b"content-encoding" in answer.headers else answer.body
    if answer.headers.get(b"content-type", b"").startswith(b"application/json"):
        said = orjson.loads(body)
        if answer.status >= 400:
            _check_refusal(answer.status, said)
    else:
        assert answer.status < 400, "a refusal is JSON"


def _check_refusal(status: int, said: Any) -> None:
    assert said.keys() == {"error"}
    fault = said["error"]
    assert {"code", "message", "retry"} <= fault.keys()
    assert fault["code"] in BY_CODE
    assert fault["code"] != "internal"
    assert status in _OWN_STATUS or status == status_of(fault["code"]), said


# -- what is sent -------------------------------------------------------------------------------


def mutated_requests(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """Requests changed by what they are; sent again, left out, in another order, of others."""
    parts = [one for _, one in records(data[1:])]
    known = [one for other in others for _, one in records(other[1:])]
    for _ in range(chance.choice((1, 2, 3, 6))):
        kind, at = chance.randrange(8), chance.randrange(len(parts) + 1)
        if kind < 5 and at < len(parts):
            parts[at] = _changed(parts[at], known, words, chance)[:3000]
        elif kind == 5:
            parts.insert(at, chance.choice(known))
        elif kind == 6 and at < len(parts):
            parts.insert(chance.randrange(len(parts)), parts[at])
        elif at < len(parts):
            del parts[at]
    return written(chance.randrange(16), [(True, part) for part in parts])


def _changed(
    request: bytes, known: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    if chance.random() < _BYTES_SHARE:
        return mutated(request, known, words, chance)
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    is_told = any(one.lower().startswith(b"content-length") for one in headers)
    where = chance.randrange(4)
    if where == 0 or (where == 1 and not body):
        first = _changed_line(first, known, words, chance)
    elif where == 1:
        bodies = [one.partition(b"\r\n\r\n")[2] for one in known]
        body = mutated_json(body, [one for one in bodies if one], words, chance)
    elif where == 2 and headers:
        at = chance.randrange(len(headers))
        headers[at] = mutated(headers[at], headers, words, chance)
    else:
        headers.insert(chance.randrange(len(headers) + 1), chance.choice(_HEADERS))
    if is_told and chance.random() < _TRUE_SHARE:
        headers = [one for one in headers if not one.lower().startswith(b"content-length")]
        headers.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((first, *headers)) + b"\r\n\r\n" + body


def _changed_line(
    first: bytes, known: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """Another method, another path, or other fields in the query."""
    method, _, rest = first.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    path, _, query = target.partition(b"?")
    kind = chance.randrange(4)
    if kind == 0:
        method = chance.choice(_METHODS)
    elif kind == 1:
        path = mutated(path, [one.split(b" ")[1] for one in known], words, chance)
    elif kind == 2:
        value = chance.choice((*words, b"%5B1,2,3%5D", b"-1", b"1e400", b"%00", b"", b"%FF"))
        query += b"&%b=%b" % (chance.choice(words), value)
    else:
        query = mutated(query or b"k=3", [b"vector=[1,2,3]", b"from_seq=1"], words, chance)
    return b" ".join((method, path + (b"?" + query if query else b""), version))


def _request(
    method: str, target: str, body: Any = None, kind: str = "application/json", *headers: str
) -> tuple[bool, bytes]:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", _TOKEN, *headers]
    sent = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    if body is not None:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(sent)}"]
    return True, "\r\n".join((*lines, "", "")).encode() + sent


_TOKEN: Final = "Authorization: Bearer token-reader"
_BYTES_SHARE: Final = 0.15
_TRUE_SHARE: Final = 0.9
_METHODS: Final = (b"GET", b"POST", b"PATCH", b"DELETE", b"PUT", b"HEAD", b"OPTIONS", b"get")
_HEADERS: Final = (
    b"Accept-Encoding: gzip", b"Content-Encoding: gzip", b"Content-Encoding: br",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Expect: 100-continue",
    b"Connection: close", b"Content-Length: 5", b"Content-Type: text/plain",
    b"Content-Type: application/octet-stream", b"Authorization: Bearer nobody",
    b"Authorization: Bearer token-reader", b"X-API-Key: token-reader", b"Idempotency-Key: one",
    b"Last-Event-ID: x:1", b"Origin: https://example.org", b"Host: example.org", b"Cookie: a=b",
    b"Access-Control-Request-Method: POST", b"X-Forwarded-For: 198.51.100.7", b"Upgrade: h2c",
)  # fmt: skip


def _npy() -> bytes:
    written_to = io.BytesIO()
    np.save(written_to, np.eye(3, dtype=np.float32))
    return written_to.getvalue()


def _session(ids: str, key: Any) -> list[tuple[bool, bytes]]:
    """Every route, most with all that they take."""
    of, rows = "/v1/collections/items", "/v1/collections/items/rows"
    row_of = f"{rows}/{quote(str(key), safe='')}"
    columns = {"shop": "str", "price": "f64", "on": "bool"}
    made = {"collection": "items", "dim": 3, "capacity": 8, "ids": ids, "columns": columns}
    row = {"vector": [1, 0.5, -1], "metadata": {"shop": "north", "price": 1, "on": True}}
    some = [row | ({} if ids == "auto" else {"id": key})]
    raw, array = np.eye(3, dtype="<f4").tobytes(), "application/octet-stream"
    asked = {"vector": [1, 2, 3], "k": 3, "include": ["metadata"], "filter": {"price": {"$lt": 2}}}
    return [
        _request("POST", "/v1/collections", made),
        _request("POST", rows, {"rows": some, "producer": "p", "batch": 1}),
        _request("POST", f"{rows}?dim=3&producer=p&batch=2", raw, array, "Idempotency-Key: one"),
        _request("POST", f"{rows}?unless_near=%7B%22score%22:0.9%7D", _npy(), "application/x-npy"),
        _request("POST", rows, gzip.compress(orjson.dumps({"rows": some}), mtime=0),
                 "application/json", "Content-Encoding: gzip"),
        _request("POST", f"{of}/search", asked, "application/json", "Accept-Encoding: gzip"),
        _request("POST", f"{of}/count", {"by": "shop", "filter": {"shop": "north"}}),
        _request("POST", f"{rows}/get", {"ids": [key], "include": ["vector"]}),
        _request("GET", f"{row_of}?include=metadata"),
        _request("PATCH", row_of, {"metadata": {"price": 7}}),
        _request("GET", of), _request("GET", "/v1/collections"),
        _request("DELETE", row_of), _request("POST", f"{rows}/delete", {"ids": [key]}),
        _request("GET", f"{of}/feed?include=metadata"),
        _request("POST", f"{of}/live", {"vector": [1, 0, 0], "k": 2, "every": 10}),
        _request("GET", f"{of}/match?vector=[1,0,0]&min_score=0.1"),
        _request("POST", f"{of}/novel", {"below": 0.9}),
        _request("GET", f"{of}/stats?every=100", None, "", "Last-Event-ID: x:1"),
        _request("POST", "/vectors/add", {"id": "a", "vector": [1, 2], "metadata": {"n": 1}}),
        _request("POST", "/vectors/batch", {"vectors": [{"id": "b", "vector": [1, 2]}]}),
        _request("POST", "/search", {"vector": [1, 2], "k": 2, "include_metadata": True}),
        _request("GET", "/stats"), _request("GET", "/health"),
        _request("DELETE", of),
    ]  # fmt: skip


def made() -> Mapping[str, bytes]:
    found = {}
    for number, (ids, key) in enumerate((("u64", 7), ("str", "a/b"), ("auto", 1))):
        whole = _session(ids, key)
        found[f"{ids}-first"] = written(4 * number, whole[:14])
        found[f"{ids}-then"] = written(3 + 4 * number, [whole[0], *whole[14:]])
    return found


WORDS = [
    b"items", b"collections", b"rows", b"search", b"live", b"feed", b"v1", b"..", b"%2F", b"/",
    b"k", b"vector", b"filter", b"include", b"metadata", b"ids", b"from_seq", b"epoch", b"dim",
    b"producer", b"batch", b"every", b"chunked", b"gzip", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n",
    b"5;a=b\r\n", b"HTTP/1.0", b"HTTP/2.0", b"http://localhost", b"*", b"Bearer", b"openapi.json",
]  # fmt: skip
TARGET = Target(
    "http_api",
    fuzz,
    mutated_requests,
    WORDS,
    made,
    most_bytes=16_000,
    runs=60,
    bounds=Bounds(1_500_000, 5_000, 24 << 20, 4_000),
)
