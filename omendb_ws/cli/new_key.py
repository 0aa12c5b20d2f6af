"""``omendb-ws new-key``: a fresh token, and what to add to the key file for it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .failure import failing


def new_key(
    name: Annotated[str, typer.Option(help="Who will use it; shown in logs.")],
    tenant: Annotated[str, typer.Option(help="Whose collections it sees.")] = "default",
    right: Annotated[
        list[str] | None,
        typer.Option(
            metavar="read|write|admin",
            help="What it may do; repeatable.",
            show_default="read and write",
        ),
    ] = None,
) -> None:
    """Make an API key: its token on stderr, the entry for the key file on stdout.

    The key file holds only a hash of the token, so the token is shown this once.

    \b
    Example:
      omendb-ws new-key --name app --right read >> keys.toml && chmod 600 keys.toml
    """
    from .. import auth

    token = auth.new_token()
    with failing(auth.KeyFileError):
        entry = auth.key_entry(name, tenant, tuple(right or ("read", "write")), token)
    print(f"token (shown only now): {token}", file=sys.stderr)
    print(entry, end="")
