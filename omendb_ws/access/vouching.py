"""How a node of a cluster vouches for a client of its own to another node.

The other node says a *challenge*, random and for one connection. Who knows the cluster's secret
answers with whom it speaks for, and proves it by a keyed hash over both. So what is overheard is
of no use on another connection, or again on the same one: each counts up. No clock is compared but
how long the token is good for still. Pure; the secret, and what is signed, are never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final

import orjson

from .grants import GrantError, parse_grants
from .peer import Peer
from .principal import Principal

SECRET_BYTES: Final = 32
_PURPOSE: Final = b"omendb.v1 one node to another"
_HASH_BYTES: Final = hashlib.sha256().digest_size
#: The node that a client's token is shown to ends the connection first.
_LATER_SECONDS: Final = 5.0


class NotVouched(Exception):
    """Nobody who knows the secret has said that, for this connection, now. Why is for the log."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """For whom a node speaks on a connection. ``number`` counts what it has said of that there;
    ``first_sub``: subscriptions are numbered from behind it."""

    principal: Principal
    peer: Peer
    number: int
    first_sub: int


def new_challenge() -> str:
    """What no other connection was told."""
    return secrets.token_hex(16)


def sign(
    secret: bytes, challenge: str, to_node: str, vouched: Vouched, now_seconds: float
) -> bytes:
    """What the node ``to_node`` is told; ``now_seconds``: Unix time, by this machine's clock."""
    principal = vouched.principal
    ends = principal.expires_at
    said = {
        "challenge": challenge,
        "to": to_node,
        "number": vouched.number,
        "first_sub": vouched.first_sub,
        "peer": list(vouched.peer),
        "name": principal.name,
        "tenant": principal.tenant,
        "grants": [grant.as_json() for grant in principal.grants],
        "left_seconds": None if ends is None else max(0.0, ends - now_seconds),
        "source": principal.source,
        "is_operator": principal.is_operator,
    }
    body = orjson.dumps(said)
    return _hash(secret, body) + body


def verify(
    secret: bytes, challenge: str, node: str, said: bytes, last_number: int, now_seconds: float
) -> Vouched:
    """What ``sign`` was given. NotVouched."""
    proof, body = said[:_HASH_BYTES], said[_HASH_BYTES:]
    if not hmac.compare_digest(proof, _hash(secret, body)):
        raise NotVouched("the secret is not this cluster's")
    try:
        return _read(orjson.loads(body), challenge, node, last_number, now_seconds)
    except (KeyError, TypeError, ValueError) as error:  # a node of another version
        raise NotVouched(f"it cannot be read: {error!r:.100}") from None


def _read(
    found: dict[str, Any], challenge: str, node: str, last_number: int, now_seconds: float
) -> Vouched:
    if found["challenge"] != challenge or found["to"] != node or found["number"] <= last_number:
        raise NotVouched("it was said for another connection, or before")
    left = found["left_seconds"]
    grants = found["grants"]
    try:
        principal = Principal(
            found["name"],
            found["tenant"],
            parse_grants(grants) if grants else (),
            None if left is None else now_seconds + left + _LATER_SECONDS,
            found["source"],
            found["is_operator"],
        )
    except GrantError as error:
        raise NotVouched(f"its grants cannot be read: {error}") from None
    return Vouched(principal, Peer(*found["peer"]), found["number"], found["first_sub"])


def _hash(secret: bytes, body: bytes) -> bytes:
    key = hmac.digest(secret, _PURPOSE, "sha256")
    return hmac.digest(key, body, "sha256")
