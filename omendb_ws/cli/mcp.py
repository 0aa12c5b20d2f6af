"""``omendb-ws mcp``: an MCP server over a server, for agents."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import reaching
from .failure import WRONG, fail, say

if TYPE_CHECKING:
    from ..client import Client


def mcp(
    embed: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="What makes vectors of texts: takes a list of strings, returns one vector each.",
        ),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Speak streamable HTTP at /mcp on this port of the loopback (0: any free one).",
        ),
    ] = None,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
) -> None:
    """Serve agents by the Model Context Protocol, over standard input and output.

    Tools: list, describe, count, search, add, watch, unwatch. A watch is a resource: its
    subscribers are told when its answer changes. Without --embed it takes vectors and ids of rows
    as examples, and no texts. What agents may is what the token may. Needs the extra mcp.

    \b
    Examples:
      omendb-ws mcp --token-file agent.key
      omendb-ws mcp --embed my_model:embed --http-port 8770
    """
    from ..runtime.extras import ExtraMissing, load

    try:
        load("mcp needs", "mcp", "mcp", "mcp_types")
    except ExtraMissing as error:
        fail(WRONG, str(error))
    function = None if embed is None else _function(embed)
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)

    async def work(db: Client) -> None:
        from .._version import VERSION
        from ..integrations.mcp_server import agents, run_http

        async with agents(db, function, VERSION) as serving:
            if http_port is None:
                await serving.run_stdio()
            else:
                with _listening(http_port) as listening:
                    await run_http(serving, listening)

    reaching.reach(at, work, reconnect=True)


def _listening(port: int) -> socket.socket:
    """A socket of the loopback; its address is said on standard error."""
    try:
        made = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        fail(WRONG, f"--http-port {port}: {os.strerror(error.errno or 0)}")
    say(f"agents are served at http://127.0.0.1:{made.getsockname()[1]}/mcp")
    return made


def _function(embed: str) -> Any:
    """The function that --embed names; modules of the working directory are found, too."""
    module, _, name = embed.partition(":")
    if not module or not name:
        fail(WRONG, f"--embed {embed}: must be MODULE:FUNCTION")
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module raises as it is loaded
        fail(WRONG, f"--embed {embed}: {type(error).__name__}: {error}")
    if not callable(function):
        fail(WRONG, f"--embed {embed}: is no function")
    return function
