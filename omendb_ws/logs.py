"""Where log lines go and how they look: text or JSON, one line each, on stderr.

Knows only ``logging``. Called once, by the command line; a program that embeds the server sets up
logging itself.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Final, Literal

LogFormat = Literal["text", "json"]

#: What every record has; anything else was passed as ``extra`` and belongs in a JSON line.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: At info, websockets logs every connection and health probe, numexpr how many threads it takes.
_TALKATIVE: Final = ("websockets", "numexpr")


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO omendb_ws.server: text``, what cannot be printed escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback, where there is one, on the lines after it."""
        line = f"{_timestamp(record)} {record.levelname} {record.name}: {record.getMessage()}"
        # What a client sent may be part of it, and must forge no line and move no cursor.
        if not line.isprintable():
            line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """``{"at": …, "level": …, "logger": …, "message": …}`` and the record's ``extra`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, ASCII only."""
        fields: dict[str, Any] = {
            "at": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        fields = extra | fields
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


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
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
