"""The backend's part: who a visitor is, and the tokens that tell the vector server so.

A name belongs to whoever took it first, for as long as this process runs, and is proven by a pass
that only the visitor's page has. In earnest that is your login; the rest stays as it is. No method
knows HTTP but for its status; they may be called by several threads.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from http import HTTPStatus
from typing import Any

import jwt

from examples.serving import Answer

TENANT = "chat"
#: Short, so that one can watch a page renew it; minutes do as well.
TOKEN_SECONDS = 20
LEEWAY_SECONDS = 5
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,19}")
MAX_VISITORS = 1_000

#: What a visitor may, as the server's setting jwt_roles: read what is public, what it wrote, and
#: what was written to it; write as itself, which the server sees to.
ROLES: dict[str, Any] = {
    "visitor": {
        "grants": [
            {
                "collections": ["messages"],
                "rights": ["read"],
                "filter": {"$or": [{"public": True}, {"author": "${sub}"}, {"to": "${sub}"}]},
            },
            {
                "collections": ["messages"],
                "rights": ["write"],
                "filter": {"author": "${sub}"},
                "stamp": {"author": "${sub}"},
            },
        ]
    }
}


class Visitors:
    """Names by pass; ``secret`` is the vector server's ``jwt_secret_file``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def enter(self, asked: Any) -> Answer:
        """``{"name"}`` becomes ``{"pass"}``, which is the visitor's to keep."""
        name = asked.get("name") if isinstance(asked, dict) else None
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return HTTPStatus.BAD_REQUEST, "A name has up to 20 of A-Z a-z 0-9 _ -, a letter first."
        with self._lock:
            if name.lower() in (taken.lower() for taken in self._names.values()):
                return HTTPStatus.CONFLICT, f"{name} is here already; take another name."
            if len(self._names) >= MAX_VISITORS:
                return HTTPStatus.SERVICE_UNAVAILABLE, "There is no place for one more."
            proof = secrets.token_urlsafe(32)
            self._names[proof] = name
        return HTTPStatus.OK, {"pass": proof}

    def token(self, asked: Any) -> Answer:
        """``{"pass"}`` becomes ``{"token"}``, a short-lived one of that visitor."""
        proof = asked.get("pass") if isinstance(asked, dict) else None
        with self._lock:
            name = self._names.get(proof) if isinstance(proof, str) else None
        if name is None:
            return HTTPStatus.UNAUTHORIZED, "That is no visitor's pass."
        return HTTPStatus.OK, {"token": self._signed(name, roles=["visitor"])}

    def own_token(self) -> str:
        """The backend's own, to create the collection with."""
        return self._signed("backend", omendb=[{"rights": ["read", "write", "admin"]}])

    def _signed(self, sub: str, **claims: Any) -> str:
        expires_at = time.time() + TOKEN_SECONDS
        claims |= {"sub": sub, "tenant": TENANT, "exp": expires_at}
        return jwt.encode(claims, self._secret, "HS256")
