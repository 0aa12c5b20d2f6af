"""``omendb-ws demo``: a server with real data streaming through it."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=0, help="End after so long; else Ctrl-C does.")
    ] = None,
) -> None:
    """Start a server and stream handwritten digits through it, searching all the while.

    \b
    Example:
      omendb-ws demo --seconds 20
    """
    from .serve import one_blas_thread

    one_blas_thread()
    from ..demo.run import run_demo

    run_demo(seconds=seconds)
