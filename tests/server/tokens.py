"""Servers that take tokens signed with a secret, and such tokens with any grants."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings

from .raw import settings

SECRET = b"0123456789abcdef0123456789abcdef"
ALL = {"rights": ["read", "write", "admin"]}


def with_secret(directory: Path, **fields: Any) -> Settings:
    """Settings of a server that takes tokens signed with ``SECRET``."""
    path = directory / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return settings(jwt_secret_file=str(path), **fields)


def token(*grants: dict[str, Any], tenant: str = "acme", sub: str = "ann", **claims: Any) -> str:
    """A token with these grants, or with all rights; good for ten minutes unless it says else."""
    document = {
        "sub": sub,
        "tenant": tenant,
        "exp": time.time() + 600,
        "omendb": list(grants) or [ALL],
        **claims,
    }
    return jwt.encode(document, SECRET, "HS256")


def end_tokens(server: Server, within_seconds: float = 60.0) -> None:
    """What happens to connections when their time is over: of tokens with less than that left."""
    for session in list(server.node._sessions):
        left = session.who.expires_in_seconds
        if left is not None and left < within_seconds:
            session._expired()
