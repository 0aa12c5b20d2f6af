"""Where log lines go and how they look: text or JSON, one line each, on stderr.

Knows only ``logging``. Called once, by the command line; a program that embeds the server sets up
logging itself.

Invariants: a JSON line is an object of plain values with ``at``, ``level``, ``logger`` and
``message``, also where Python itself has something to say (warnings, faults that nobody caught).
What looks like a credential is hidden, whoever logs it; that is the second fence, the first is that
nobody here logs any (``logins.py``, ``socket_logs.py``).
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
from typing import Any, Final, Literal

from . import socket_logs

LogFormat = Literal["text", "json"]

log = logging.getLogger(__name__)

#: What every record has; anything else was passed as ``extra`` and belongs in a JSON line.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: At info, websockets logs every connection, numexpr how many threads it takes; at debug the first
#: logs what is sent.
_TALKATIVE: Final = ("websockets", "numexpr")
#: Where a credential stands, and what stands there.
_CREDENTIAL: Final = re.compile(
    r"""(?ix)
    ( \b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:[a-z]+\s+)?
    | \bx-api-key["']?\s*[:=]\s*["']?
    | \bbearer\s+
    | \b(?:access_|api_)?token(?:\\*["'])?\s*[:=]\s*(?:\\*["'])?
    | ://[^\s/@:]*:(?=[^\s/@]*@)
    ) [^\s"'\\&,;}@]+"""
)
HIDDEN: Final = "(hidden)"
_MOST_DEPTH: Final = 8


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO omendb_ws.cli: text``, what cannot be printed escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback, where there is one, indented on the lines after it."""
        line = f"{_timestamp(record)} {record.levelname} {record.name}: {_message(record)}"
        trace_id = getattr(record, "trace_id", None)
        if trace_id is not None:
            line += f" (trace {trace_id})"
        lines = [line, *_traceback(record).splitlines()]
        # What a client sent may be part of it, and must forge no line and move no cursor.
        return "\n  ".join(map(_printable, lines))


class JsonFormatter(logging.Formatter):
    """``{"at": …, "level": …, "logger": …, "message": …}`` and the record's ``extra`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, ASCII only."""
        extra = {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        fields: dict[str, Any] = extra | {
            "at": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if traceback := _traceback(record):
            fields["traceback"] = traceback
        return json.dumps(fields)


class _StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the moment: a bar on a terminal puts itself there, so
    that lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def configure(log_format: LogFormat, level: str) -> None:
    """Send everything to stderr in ``log_format``; replaces what was configured before."""
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    socket_logs.logger().setLevel(logging.INFO if level == "debug" else logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _thread_fault
    sys.unraisablehook = _unraisable


def _thread_fault(fault: threading.ExceptHookArgs) -> None:
    if fault.exc_type is not SystemExit:
        name = fault.thread.name if fault.thread is not None else "a thread that is gone"
        log.critical("%s ended by a fault", name, exc_info=fault.exc_value)


def _unraisable(fault: sys.UnraisableHookArgs) -> None:
    said = fault.err_msg or "a fault that nobody could catch"
    log.error("%s in %s", said, type(fault.object).__name__, exc_info=fault.exc_value)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # a line whose arguments do not fit still says something
        text = f"{record.msg} ({type(error).__name__} in its arguments)"
    return hide(text)


def _traceback(record: logging.LogRecord) -> str:
    lines = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    return hide(f"{lines}\n{record.stack_info}" if record.stack_info else lines)


def hide(text: str) -> str:
    """``text`` without what looks like a credential."""
    return _CREDENTIAL.sub(rf"\g<1>{HIDDEN}", text)


def _plain(value: object, depth: int = 0) -> object:
    """``value`` as JSON has it; anything else, and what lies too deep, as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _MOST_DEPTH and isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    if depth < _MOST_DEPTH and isinstance(value, dict):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    return hide(str(value))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
