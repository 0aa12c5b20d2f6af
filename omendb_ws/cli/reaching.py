"""Reaching a server: the flags that every client command has, and what their failures mean.

A command is a coroutine over a client; ``reach`` runs it, and turns what goes wrong into a line and
an exit code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import typer

from ..wire.addresses import shown
from .completion import complete_collection
from .failure import FAILED, NO_SERVER, WRONG, fail, interruptible
from .options import finite

if TYPE_CHECKING:
    import ssl

    from ..client import Client

DEFAULT_URL: Final = "ws://127.0.0.1:8765/v1"

Url = Annotated[
    str,
    typer.Option(
        envvar="OMENDB_URL", help="The server's address; several, with commas: whoever is there."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="OMENDB_TOKEN", help="API key, if the server wants one.", show_default=False
    ),
]
TokenFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="File with the API key, which no other user can see then."),
]
CaFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="PEM file of certificates to trust, for wss://."),
]
#: As long as a call of the client waits.
TIMEOUT_SECONDS: Final = 30.0
TimeoutSeconds = Annotated[
    float,
    typer.Option(
        min=0.001, callback=finite, help="How long to wait for an answer, or for the server."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Collection = Annotated[
    str, typer.Argument(help="Name of the collection.", autocompletion=complete_collection)
]
CollectionFlag = Annotated[
    str,
    typer.Option(
        "--collection", "-c", help="Name of the collection.", autocompletion=complete_collection
    ),
]

#: To connect, and to say goodbye, at most.
_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 2.0

T = TypeVar("T")


class Address(NamedTuple):
    """Where a server is, and how one is let in."""

    #: One, or several with commas between them.
    url: str
    token: str | None
    tls: ssl.SSLContext | None
    timeout_seconds: float

    @property
    def urls(self) -> list[str]:
        """Each of them."""
        return self.url.split(",")


def address(
    url: str,
    token: str | None,
    token_file: str | None,
    ca_file: str | None,
    timeout_seconds: float,
) -> Address:
    """Read the files that the flags name; fails with a line that never shows the token."""
    if token_file is not None:
        try:
            with open(token_file, encoding="utf-8") as file:
                token = file.read(8192).strip()
        except (OSError, UnicodeDecodeError) as error:
            fail(WRONG, f"--token-file {token_file}: {getattr(error, 'strerror', None) or error}")
        if not token:
            fail(WRONG, f"--token-file {token_file}: is empty")
    if ca_file is not None and not url.startswith("wss://"):
        fail(WRONG, f"--ca-file: is for wss:// addresses; {shown(url)} is none")
    tls = None if ca_file is None else trusting(ca_file)
    return Address(url, token, tls, timeout_seconds)


def trusting(ca_file: str) -> ssl.SSLContext:
    """Return what trusts the certificates in ``ca_file``, or fail."""
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        fail(WRONG, f"--ca-file {ca_file}: {error.strerror or error}")


def reach(at: Address, work: Callable[[Client], Awaitable[T]], *, reconnect: bool = False) -> T:
    """Connect, run ``work`` and return its result; or fail. Ctrl-C ends it with INTERRUPTED.

    ``reconnect``: a connection that is lost meanwhile is replaced.
    """
    from ..runtime.event_loops import choose

    with interruptible(), asyncio.Runner(loop_factory=choose().new_loop) as runner:
        return runner.run(_reach(at, work, reconnect))


async def _reach(at: Address, work: Callable[[Client], Awaitable[T]], reconnect: bool) -> T:
    from ..client import connect
    from ..errors import OmenError

    client = None
    try:
        client = await connect(
            at.urls,
            at.token,
            tls=at.tls,
            reconnect=reconnect,
            open_timeout_seconds=min(at.timeout_seconds, _OPEN_SECONDS),
            request_timeout_seconds=at.timeout_seconds,
        )
    except (OmenError, TimeoutError) as error:
        fail(connecting_code(error), f"{shown(at.url)}: {said(error, shown(at.url))}")
    try:
        return await work(client)
    except (OmenError, TimeoutError) as error:
        fail(exit_code(error), said(error))
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


def exit_code(error: Exception) -> int:
    """The code for what a call of the client raised."""
    from ..errors import ConnectionLost

    return NO_SERVER if isinstance(error, ConnectionLost | TimeoutError) else FAILED


def connecting_code(error: Exception) -> int:
    """The code for what connecting raised: the address is none, or what is there is no server."""
    from ..errors import BadRequest, Unsupported

    if isinstance(error, BadRequest):
        return WRONG
    return NO_SERVER if isinstance(error, Unsupported) else exit_code(error)


def said(error: Exception, url: str = "") -> str:
    """An error of the client in one line: the message without ``url``, and the protocol's code."""
    text = " ".join(str(error).split()) or f"no connection: {error.__cause__!r}"
    if url:
        text = text.removeprefix(url).lstrip(": ")
    code = getattr(error, "code", None)
    return f"{text} ({code})" if code else text
