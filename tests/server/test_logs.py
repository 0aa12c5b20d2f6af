"""Log lines: one a record, in two forms, that no client can forge."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from omendb_ws import logs


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Call it for what was logged; the logging of the test run is put back afterwards."""
    root, websockets = logging.getLogger(), logging.getLogger("websockets")
    handlers, level, websockets_level = root.handlers[:], root.level, websockets.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    websockets.setLevel(websockets_level)


def test_a_line_of_text_has_time_level_logger_and_message(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    logging.getLogger("omendb_ws.server").info("listening on %s", "ws://x")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO omendb_ws\.server: listening on ws://x\n",
        logged(),
    )


def test_a_line_of_json_has_the_extra_fields_too(logged: Callable[[], str]) -> None:
    logs.configure("json", "info")
    logging.getLogger("omendb_ws").warning("odd", extra={"reference": "abc", "tags": {"ä"}})
    line = logged()
    document = json.loads(line)
    assert document.pop("at").endswith("Z")
    assert document == {
        "level": "warning",
        "logger": "omendb_ws",
        "message": "odd",
        "reference": "abc",
        "tags": "{'ä'}",
    }
    assert line.isascii()
    assert line.count("\n") == 1


def test_the_level_is_kept_to(logged: Callable[[], str]) -> None:
    logs.configure("text", "warning")
    logging.getLogger("omendb_ws").info("hidden")
    logging.getLogger("omendb_ws").warning("shown")
    lines = logged()
    assert "hidden" not in lines
    assert "shown" in lines


def test_every_connection_is_logged_by_websockets_at_debug_only(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    logging.getLogger("websockets.server").info("connection open")
    assert logged() == ""
    logs.configure("text", "debug")
    logging.getLogger("websockets.server").info("connection open")
    assert "connection open" in logged()


def test_configuring_again_does_not_log_twice(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    logs.configure("text", "info")
    logging.getLogger("omendb_ws").info("once")
    assert logged().count("once") == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x1b[2J", "\u2028", "\x00", "\x85"])
def test_what_a_client_sent_cannot_forge_a_line(
    log_format: logs.LogFormat, break_: str, logged: Callable[[], str]
) -> None:
    logs.configure(log_format, "info")
    logging.getLogger("omendb_ws").info("name %s", f"a{break_}2026 INFO omendb_ws: all is well")
    line = logged()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert break_ not in line.rstrip("\n")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_logged(log_format: logs.LogFormat, logged: Callable[[], str]) -> None:
    logs.configure(log_format, "info")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("omendb_ws").exception("a fault")
    lines = logged()
    assert "RuntimeError: broken" in lines
    if log_format == "json":
        assert len(lines.splitlines()) == 1
