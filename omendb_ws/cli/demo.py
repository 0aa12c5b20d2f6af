"""``omendb-ws demo``: a server with real data streaming through it, to look at."""

from __future__ import annotations

from typing import Annotated

import typer

from .failure import FAILED, failing
from .serve import one_blas_thread


def demo(
    port: Annotated[
        int,
        typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes any free one."),
    ] = 8765,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port of the HTTP API, which needs the extra http; none without it.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, max=86_400.0, help="End after this long; without it, at Ctrl-C."),
    ] = None,
    rows_per_second: Annotated[
        float,
        typer.Option(min=1.0, max=100_000.0, help="How fast digits are streamed in."),
    ] = 500.0,
) -> None:
    """Stream handwritten digits into a window and search it, live.

    Starts a server on this machine and streams 1,600 real handwritten digits through a window of
    1,000 rows, again and again, while it searches with 197 others that are never streamed. In a
    terminal it shows what happens; elsewhere it prints a line a second.
    """
    one_blas_thread()
    from ..demo.child import ServerFailed
    from ..demo.run import run_demo
    from ..net import http_port as api
    from ..runtime import extras

    if http_port is not None:
        with failing(extras.ExtraMissing):
            api.check_extra()
    with failing(ServerFailed, code=FAILED):
        run_demo(port, http_port, seconds, rows_per_second)
