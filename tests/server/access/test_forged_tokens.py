"""Ten thousand forged tokens over real sockets: none gets in, and nothing grows with them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from omendb_core.model.errors import Unauthenticated

from omendb_ws.access.logins import MOST_ADDRESSES
from omendb_ws.net.server import Server
from tests.access import jwt_making as making
from tests.server.net.test_websocket_frames import frame
from tests.server.raw import KEYS, PATIENCE_SECONDS, Clock, client, running, with_keys

TOKENS = 10_000
#: From so many addresses, more than are remembered; none has to wait.
ADDRESSES = 5_000
AT_ONCE = 50
#: What the second half of them may leave, when the table of addresses is full: one block of memory
#: for each would be twice as much.
LEFT_BLOCKS = TOKENS // 4

#: How a close frame begins that says 4401.
CLOSED = bytes([0x88, 2 + len("unauthenticated")]) + (4401).to_bytes(2, "big")

UPGRADE = (
    "GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def forgers() -> list[Callable[[random.Random], str]]:
    """Each makes tokens that look like good ones, and are none."""
    good = making.token("ed", tenant="acme", omendb=[{"rights": ["read", "write", "admin"]}])
    head, body, signature = good.split(".")
    none = making.segment({"alg": "none", "kid": "ed"})
    claims = making.claims(tenant="acme")
    public = making.pem("ed")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def changed(text: str, dice: random.Random) -> str:
        place = dice.randrange(len(text) - 1)  # the last letter has bits that say nothing
        other = dice.choice([one for one in letters if one != text[place]])
        return text[:place] + other + text[place + 1 :]

    def of_a_known_key(dice: random.Random) -> str:
        token = f"token-{dice.choice(list(KEYS))}"
        return dice.choice(
            [changed(token, dice), token[:-1], token + "x", token.upper(), token[1:]]
        )

    def hmac(dice: random.Random) -> str:
        header = making.segment({"alg": "HS256", "kid": "ed"})
        document = making.segment({**claims, "n": dice.random()})
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        made = algorithm.sign(f"{header}.{document}".encode(), public)
        return f"{header}.{document}.{making.segment(made)}"

    return [
        lambda dice: "".join(dice.choices(letters, k=43)),
        of_a_known_key,
        lambda dice: f"{head}.{body}.{changed(signature, dice)}",
        lambda dice: f"{head}.{making.segment({**claims, 'n': dice.random()})}.{signature}",
        lambda dice: f"{none}.{making.segment({**claims, 'n': dice.random()})}.",
        lambda dice: good[: dice.randrange(1, len(good) - 1)],
        lambda dice: making.token("ed", exp=1_000_000_000 + dice.randrange(1000)),
        lambda dice: making.token("ec", header={"kid": "ed"}, n=dice.random()),
        lambda dice: making.token("ed", header={"kid": f"k{dice.randrange(1000)}"}),
        lambda dice: making.token("ed", tenant=dice.choice(["", "a b", None])),
        lambda dice: "token-root" + "x" * dice.randrange(1000, 4000),
        hmac,
    ]


async def answer_to(port: int, address: str, request: bytes) -> bytes:
    """All that a server says to a request, until it closes, or says that it does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    said = b""
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while CLOSED not in said and (data := await reader.read(1 << 16)):
                said += data
    finally:
        writer.close()
    return said


async def is_refused(port: int, number: int, token: str) -> bool:
    """Whether a token is, by one of the three ways in."""
    address = f"127.1.{number % ADDRESSES >> 8}.{number % ADDRESSES & 255}"
    if number % 3 == 0:
        request = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {token}\r\n\r\n"
        return (await answer_to(port, address, request.encode())).startswith(b"HTTP/1.1 401 ")
    if number % 3 == 1:
        request = f"{UPGRADE}Authorization: Bearer {token}\r\n\r\n"
        said = await answer_to(port, address, request.encode())
    else:
        auth = json.dumps({"id": 1, "op": "auth", "token": token}).encode()
        said = await answer_to(port, address, f"{UPGRADE}\r\n".encode() + frame(1, auth))
    is_in = b'"auth":"ok"' in said or b'"rights"' in said
    return Unauthenticated.code.encode() in said and CLOSED in said and not is_in


async def test_of_ten_thousand_forged_tokens_none_gets_in_and_nothing_grows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "omendb_ws")
    (tmp_path / "jwks.json").write_bytes(making.jwks("ed"))
    settings = with_keys(tmp_path, jwt_keys=str(tmp_path / "jwks.json"))
    dice = random.Random(7)
    making_one = forgers()
    async with running(Server(settings, clock_us=Clock())) as server:
        async with client(server, token=making.token("ed")) as raw:  # so it is they that are wrong
            assert raw.hello["tenant"] == "acme"

        async def some(first: int, until: int) -> None:
            for start in range(first, until, AT_ONCE):
                tokens = {
                    n: making_one[n // 3 % len(making_one)](dice)
                    for n in range(start, start + AT_ONCE)
                }
                found = await asyncio.gather(
                    *(is_refused(server.port, number, token) for number, token in tokens.items())
                )
                let_in = [
                    token
                    for token, refused in zip(tokens.values(), found, strict=True)
                    if not refused
                ]
                assert not let_in

        async def left_blocks() -> int:
            """What Python has allocated once everybody is gone, and the log is empty."""
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(server._strangers):  # noqa: ASYNC110 - each goes in a turn of its own
                    await asyncio.sleep(0)
            lines.extend(one.getMessage() for one in caplog.records)
            caplog.clear()
            gc.collect()
            return sys.getallocatedblocks()

        lines: list[str] = []
        await some(0, TOKENS // 2)
        before = await left_blocks()
        await some(TOKENS // 2, TOKENS)
        assert await left_blocks() - before < LEFT_BLOCKS
        assert server.metrics.failed_logins == TOKENS
        assert len(server.context.logins._paces) == MOST_ADDRESSES
        assert not len(server._known)
    assert 0 < len([one for one in lines if "failed login" in one]) <= 10
