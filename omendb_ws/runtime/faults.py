"""What the server says of its own faults: a reference to the client, a traceback to the log."""

from __future__ import annotations

import inspect
import logging
import secrets
import traceback
from contextlib import suppress
from typing import Final

from omendb_core.model.errors import Internal, OmenError

log = logging.getLogger(__name__)

#: To clear the frame of a coroutine that waits would end it.
_MAY_GO_ON: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def forget_frames(error: BaseException) -> None:
    """Let go of what the functions held that ``error``, and what led to it, went through.

    Whoever keeps an exception, a log's handler too, keeps their variables with it: windows and
    frames of adds. File names and lines stay.
    """
    told: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in told:
            told.add(id(one))
            for frame, _ in traceback.walk_tb(one.__traceback__):
                if not frame.f_code.co_flags & _MAY_GO_ON:
                    with suppress(RuntimeError):  # it is running
                        frame.clear()
            left += [one.__cause__, one.__context__]


def as_error(error: Exception, doing: str) -> OmenError:
    """``error`` if clients may be told of it, else Internal with a reference, logged under it.

    It has no traceback any more: the frames of one hold the windows and messages that it went
    through, and one of them holds the error.
    """
    if isinstance(error, OmenError):
        return error.with_traceback(None)
    reference = secrets.token_hex(4)
    # A log that cannot be written must not be another fault.
    with suppress(Exception):
        log.error("fault %s while doing: %s", reference, doing, exc_info=error)
        forget_frames(error)
    return Internal(f"a fault of the server, logged under {reference}")
