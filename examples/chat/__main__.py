"""Serves a chat whose visitors read and write the vector server themselves, each with a token."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

import omendb_ws
from examples import serving

try:
    from examples.chat.visitors import LEEWAY_SECONDS, ROLES, Visitors
except ModuleNotFoundError as error:
    if error.name != "jwt":
        raise
    sys.exit(
        "The chat signs tokens with PyJWT. Install it: "
        f"{sys.executable} -m pip install 'omendb-ws[jwt]'"
    )

MESSAGES = "messages"
#: Of the page's hashing embedding (page/embedding.js).
DIM = 256
CAPACITY = 1_000


async def stream(db: omendb_ws.Client) -> None:
    """Make the collection, and keep the house open."""
    await db.create(
        MESSAGES,
        dim=DIM,
        capacity=CAPACITY,
        metric="cosine",
        ids="auto",
        columns={"author": "str", "to": "str", "public": "bool"},
    )
    await asyncio.Event().wait()


def main() -> None:
    # Letters: a line end behind a secret in a file is not part of it, nor would a random one be.
    secret = secrets.token_hex(32).encode()
    visitors = Visitors(secret)
    with tempfile.TemporaryDirectory(prefix="omendb-chat-") as directory:
        secret_file = Path(directory) / "secret"
        secret_file.touch(0o600)
        secret_file.write_bytes(secret)
        backend = serving.Backend(
            settings={
                "jwt_secret_file": str(secret_file),
                "jwt_algorithms": ["HS256"],
                "jwt_leeway_seconds": LEEWAY_SECONDS,
                "jwt_roles_claim": "roles",
                "jwt_roles": ROLES,
            },
            get_token=visitors.own_token,
            posts={"/visitors": visitors.enter, "/token": visitors.token},
        )
        told = {"collection": MESSAGES, "dim": DIM}
        serving.run("chat", Path(__file__).with_name("page"), stream, told, backend)


if __name__ == "__main__":
    main()
