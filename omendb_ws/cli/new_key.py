"""``omendb-ws new-key``: a fresh token, and what to add to the key file for it."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Annotated, Any, NoReturn

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
            metavar="read|write|admin|operator",
            help="What it may do; repeatable. operator sees the whole server.",
            show_default="read and write",
        ),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Limit it to collections of this name, * for any characters; repeatable.",
        ),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Limit it to rows that pass this filter."),
    ] = None,
    stamp: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What the columns of its rows are set to, as an object."),
    ] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JSON",
            help="One more grant: an object of rights, collections, filter, stamp; repeatable.",
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
    token_to: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="New file for the token, made for you alone; --token-file reads it.",
            show_default="shown on stderr",
        ),
    ] = None,
) -> None:
    """Make an API key: its token on stderr or in a file, the key file's entry on stdout or in it.

    The key file holds only a hash of the token, so the token is shown this once. --collection,
    --filter and --stamp make a grant of what --right says; --grant adds grants with other rights.

    \b
    Examples:
      omendb-ws new-key --name app --right read --append-to keys.toml
      omendb-ws new-key --name widget --collection 'clicks-*' --filter '{"owner": "widget"}' \\
        --stamp '{"owner": "widget"}'
    """
    from ..access import keyring

    limits: dict[str, Any] = {}
    if collection:
        limits["collections"] = collection
    for flag, text in (("filter", filter), ("stamp", stamp)):
        if text is not None:
            limits[flag] = _object(f"--{flag}", text)
    more = [_object("--grant", text) for text in grant or ()]
    rights, grants = _split(right, limits, more)
    token = keyring.new_token()
    with failing(keyring.KeyFileError):
        entry = keyring.key_entry(name, tenant, rights, token, grants)
    if token_to is not None:
        _write_token(token_to, token)
    if append_to is not None:
        try:
            _append(append_to, entry)
        except BaseException:
            if token_to is not None:  # the token of no key
                os.unlink(token_to)
            raise
    if token_to is None:
        print(f"token (shown only now): {token}", file=sys.stderr)
    if append_to is None:
        print(entry, end="")


def _split(
    right: list[str] | None, limits: dict[str, Any], more: list[dict[str, Any]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """The rights on every collection, and the grants. The right operator knows no limits."""
    if not limits:
        return (right or ([] if more else ["read", "write"])), more
    limited = [one for one in right or ("read", "write") if one != "operator"]
    whole = [one for one in right or () if one == "operator"]
    return whole, [{"collections": ["*"], "rights": limited, **limits}, *more]


def _object(flag: str, text: str) -> dict[str, Any]:
    """The JSON object of a flag; fails for anything else."""
    from ..access.jwt_keys import refuse_repeated

    try:
        found = json.loads(text, object_pairs_hook=refuse_repeated, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        fail(WRONG, f"{flag}: not JSON: {error}")
    if not isinstance(found, dict):
        fail(WRONG, f"{flag}: must be a JSON object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _write_token(path: str, token: str) -> None:
    """Into a file that was not there: another's token is not to be lost."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with open(number, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        code = WRONG if isinstance(error, ValueError | FileExistsError) else FAILED
        fail(code, f"token file {path}: {getattr(error, 'strerror', None) or error}")


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
