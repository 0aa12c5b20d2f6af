"""``omendb-ws ping``: is a server there, and how long does a round trip take."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated

import typer

from ..wire.addresses import shown
from . import reaching
from .failure import NO_SERVER, fail
from .options import finite


def ping(
    url: Annotated[
        str,
        typer.Argument(
            envvar="OMENDB_URL",
            help="The server's address; several, with commas: whoever is there.",
        ),
    ] = reaching.DEFAULT_URL,
    count: Annotated[int, typer.Option(min=1, help="How many requests.")] = 4,
    interval_seconds: Annotated[
        float, typer.Option(min=0, callback=finite, help="Pause between two.")
    ] = 1.0,
    timeout_seconds: Annotated[
        float, typer.Option(min=0.001, callback=finite, help="How long to wait.")
    ] = 5.0,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
) -> None:
    """Measure round trips to a server. The exit code is 3 if it does not answer.

    \b
    Example:
      omendb-ws ping --count 10 --interval-seconds 0.1 ws://127.0.0.1:8765/v1
    """
    from ..errors import OmenError

    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    times_ms: list[float] = []
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_ping(at, count, interval_seconds, times_ms))
    except TimeoutError:
        fail(NO_SERVER, f"{shown(url)}: no answer within {timeout_seconds:g} s")
    except OmenError as error:
        fail(reaching.connecting_code(error), f"{shown(url)}: {reaching.said(error, shown(url))}")
    finally:
        if times_ms:
            print(_summary(times_ms))


def _summary(times_ms: list[float]) -> str:
    mean = sum(times_ms) / len(times_ms)
    return (
        f"{len(times_ms)} answered, round trip min/mean/max"
        f" {min(times_ms):.3f}/{mean:.3f}/{max(times_ms):.3f} ms"
    )


async def _ping(
    at: reaching.Address, count: int, interval_seconds: float, times_ms: list[float]
) -> None:
    """Connect and append the time of each round trip to ``times_ms``, printing it."""
    from ..client import connect

    async with connect(
        at.urls,
        at.token,
        tls=at.tls,
        reconnect=False,
        open_timeout_seconds=at.timeout_seconds,
        request_timeout_seconds=at.timeout_seconds,
    ) as db:
        for number in range(1, count + 1):
            started = time.perf_counter()
            await db.ping()
            times_ms.append((time.perf_counter() - started) * 1000)
            print(f"{number} from {shown(at.url)}: {times_ms[-1]:.3f} ms", flush=True)
            if number < count:
                await asyncio.sleep(interval_seconds)
