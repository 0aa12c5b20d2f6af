"""``omendb-ws ping``: is a server there, and how long does a round trip take."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from .failure import FAILED, WRONG, fail

if TYPE_CHECKING:
    import ssl


def ping(
    url: Annotated[str, typer.Argument(help="The server's address.")] = "ws://127.0.0.1:8765/v1",
    count: Annotated[int, typer.Option(min=1, help="How many requests.")] = 4,
    interval_seconds: Annotated[float, typer.Option(min=0, help="Pause between two.")] = 1.0,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="How long to wait.")] = 5.0,
    token: Annotated[
        str | None, typer.Option(envvar="OMENDB_TOKEN", help="API key, if the server wants one.")
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="PEM file of certificates to trust, for wss://."),
    ] = None,
) -> None:
    """Measure round trips to a server. The exit code is 1 if it does not answer.

    \b
    Example:
      omendb-ws ping --count 10 --interval-seconds 0.1 ws://127.0.0.1:8765/v1
    """
    from ..errors import BadRequest, OmenError

    tls = None if ca_file is None else _trusting(ca_file)
    times_ms: list[float] = []
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_ping(url, token, tls, count, interval_seconds, timeout_seconds, times_ms))
    except TimeoutError:
        fail(FAILED, f"{url}: no answer within {timeout_seconds:g} s")
    except OmenError as error:
        said = str(error) or f"no connection: {error.__cause__!r}"
        fail(
            WRONG if isinstance(error, BadRequest) else FAILED,
            said if said.startswith(url) else f"{url}: {said}",
        )
    finally:
        if times_ms:
            print(_summary(times_ms))


def _summary(times_ms: list[float]) -> str:
    mean = sum(times_ms) / len(times_ms)
    return (
        f"{len(times_ms)} answered, round trip min/mean/max"
        f" {min(times_ms):.3f}/{mean:.3f}/{max(times_ms):.3f} ms"
    )


def _trusting(ca_file: str) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        fail(WRONG, f"--ca-file {ca_file}: {error.strerror or error}")


async def _ping(
    url: str,
    token: str | None,
    tls: ssl.SSLContext | None,
    count: int,
    interval_seconds: float,
    timeout_seconds: float,
    times_ms: list[float],
) -> None:
    """Connect and append the time of each round trip to ``times_ms``, printing it."""
    from ..client import connect

    async with connect(
        url,
        token,
        tls=tls,
        reconnect=False,
        open_timeout_seconds=timeout_seconds,
        request_timeout_seconds=timeout_seconds,
    ) as db:
        for number in range(1, count + 1):
            started = time.perf_counter()
            await db.ping()
            times_ms.append((time.perf_counter() - started) * 1000)
            print(f"{number} from {url}: {times_ms[-1]:.3f} ms", flush=True)
            if number < count:
                await asyncio.sleep(interval_seconds)
