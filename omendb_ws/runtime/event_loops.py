"""Which event loop runs: uvloop where it is installed, else asyncio's own.

Knows only the setting ``event_loop``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from .extras import pip_install

EventLoop = Literal["auto", "uvloop", "asyncio"]


class Choice(NamedTuple):
    """``name`` is what to call it; ``new_loop`` goes to ``asyncio.Runner`` as ``loop_factory``."""

    name: str
    new_loop: Callable[[], asyncio.AbstractEventLoop]


class EventLoopError(ValueError):
    """An event loop was asked for by name that is not there."""


def choose(setting: str = "auto") -> Choice:
    """The event loop for ``setting``, an ``EventLoop``. EventLoopError if it is not there."""
    if setting not in get_args(EventLoop):
        raise EventLoopError(
            f"event_loop is {setting!r}; there is: {', '.join(get_args(EventLoop))}"
        )
    if setting != "asyncio":
        try:
            import uvloop
        except ImportError:
            if setting == "uvloop":
                how = pip_install("uvloop")
                raise EventLoopError(
                    f"event_loop is uvloop, which is not installed: {how}"
                ) from None
        else:
            return Choice("uvloop", uvloop.new_event_loop)
    return Choice("asyncio", asyncio.new_event_loop)
