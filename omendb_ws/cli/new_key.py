"""``omendb-ws new-key``: a fresh token, and what to add to the key file for it."""

from __future__ import annotations

import os
import stat
import sys
from typing import Annotated

import typer

from .failure import FAILED, WRONG, fail, failing, say

#: Of a key file that is made: its owner's alone.
_MODE = 0o600


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
    append_to: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Key file to add the entry to, made for you alone if it is not there.",
            show_default="standard output",
        ),
    ] = None,
) -> None:
    """Make an API key: its token on stderr, the entry for the key file on stdout or in it.

    The key file holds only a hash of the token, so the token is shown this once.

    \b
    Example:
      omendb-ws new-key --name app --right read --append-to keys.toml
    """
    from ..access import keyring

    token = keyring.new_token()
    with failing(keyring.KeyFileError):
        entry = keyring.key_entry(name, tenant, tuple(right or ("read", "write")), token)
    if append_to is not None:
        _append(append_to, entry)
    print(f"token (shown only now): {token}", file=sys.stderr)
    if append_to is None:
        print(entry, end="")


def _append(path: str, entry: str) -> None:
    """Add ``entry`` to a key file, which stays one: whole or not at all."""
    from ..access.keyring import KeyFileError, Keyring
    from ..runtime.toml_files import TomlFileError, read_text

    try:
        before = ""
        if os.path.lexists(path):
            if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
                fail(WRONG, f"key file {path}: is no regular file")
            before = read_text(path)
        added = ("\n" if before.endswith("\n") else "\n\n") + entry if before.strip() else entry
        with failing(KeyFileError):
            Keyring.parse(before + added, f"key file {path}")
        _write(path, added.encode())
    except (OSError, ValueError, TomlFileError) as error:  # ValueError: a NUL in the name
        code = WRONG if isinstance(error, ValueError | FileNotFoundError) else FAILED
        fail(code, f"key file {path}: {getattr(error, 'strerror', None) or error}")
    say(*[f"warning: {warning}" for warning in Keyring.load(path).warnings])


def _write(path: str, added: bytes) -> None:
    """Put ``added`` behind what is there; a disk that is full half way leaves it as it was."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
    with open(number, "ab", buffering=0) as file:
        before_bytes = os.fstat(number).st_size
        try:
            if file.write(added) != len(added):
                raise OSError(0, "not all of it could be written")
            os.fsync(number)
        except OSError:
            os.ftruncate(number, before_bytes)
            raise
