"""A bench in a child process of its own: one thread, one core, its memory gone when it is done."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any, TypeVar

from ..peers.compare import THREAD_VARIABLES

Answer = TypeVar("Answer")


def on_one_core(bench: Callable[..., Answer], *arguments: Any) -> Answer:
    """What ``bench(*arguments)`` returns there. Raises ChildProcessError if it died."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # read when libraries are loaded
    try:
        child = spawning.Process(target=_main, args=(theirs, bench, arguments))
        child.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    theirs.close()
    try:
        answer: Answer = ours.recv()
    except EOFError:
        child.join()
        raise ChildProcessError(f"{bench.__name__} ended with code {child.exitcode}") from None
    finally:
        ours.close()
    child.join()
    return answer


def _main(pipe: Pipe, bench: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from omendb_core.scoring import blas  # loads numpy: the variables are set by now

    blas.use_threads(1)
    pipe.send(bench(*arguments))
