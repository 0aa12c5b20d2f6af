"""Log lines: one a record, in two forms, that no client can forge."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from omendb_ws.runtime import logs, socket_logs


@pytest.fixture
def logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """Call it for what was logged; the logging of the test run is put back afterwards."""
    loggers = [logging.getLogger(name) for name in (None, "websockets", socket_logs.NAME)]
    before = [(one, one.handlers[:], one.level) for one in loggers]
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(False)
    for one, handlers, level in before:
        one.handlers[:] = handlers
        one.setLevel(level)


def test_a_line_of_text_has_time_level_logger_and_message(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    logging.getLogger("omendb_ws.net.server").info("listening on %s", "ws://x")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO omendb_ws\.net\.server: listening on ws://x\n",
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


def test_who_comes_and_goes_is_logged_at_debug_only(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    socket_logs.logger().info("connection open")
    assert logged() == ""
    logs.configure("text", "debug")
    socket_logs.logger().info("connection open")
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


def test_a_traceback_cannot_forge_a_line_either(logged: Callable[[], str]) -> None:
    logs.configure("text", "info")
    try:
        raise RuntimeError("broken\n2026-01-01T00:00:00.000Z INFO omendb_ws: all is \x1b[2Jwell")
    except RuntimeError:
        logging.getLogger("omendb_ws").exception("a fault")
    first, *rest = logged().splitlines()
    assert first.endswith("ERROR omendb_ws: a fault")
    assert rest
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def document(line: str) -> dict[str, object]:
    """A line that is strictly JSON, with what every line has."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(line, parse_constant=refuse)
    assert {"at", "level", "logger", "message"} <= found.keys()
    return found


def test_a_line_of_json_holds_plain_values(logged: Callable[[], str]) -> None:
    logs.configure("json", "info")
    loop: list[object] = []
    loop.append(loop)
    odd = {"nan": float("nan"), "keys": {1: (2, None)}, "loop": loop, "object": object()}
    logging.getLogger("omendb_ws").info("odd", extra=odd)
    logging.getLogger("omendb_ws").info("%d of %s", "one")
    first, second = map(document, logged().splitlines())
    assert (first["nan"], first["keys"]) == ("nan", {"1": [2, None]})
    assert isinstance(first["object"], str)
    assert second["message"] == "%d of %s (TypeError in its arguments)"


def test_what_python_has_to_say_is_json_too(logged: Callable[[], str]) -> None:
    class Falls:
        def __del__(self) -> None:
            raise ValueError("in its end")

    def fail() -> None:
        raise ValueError("in a thread")

    logs.configure("json", "info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("unwise", stacklevel=1)
    thread = threading.Thread(target=fail, name="one")
    thread.start()
    thread.join()
    del (falls := [Falls()])[0]
    assert not falls
    warned, ended, fell = map(document, logged().splitlines())
    assert "unwise" in str(warned["message"])
    assert ended["message"] == "one ended by a fault"
    assert "in a thread" in str(ended["traceback"])
    assert "in its end" in str(fell["traceback"])


HIDES = {
    "< Authorization: Bearer s3cr3t": "< Authorization: Bearer (hidden)",
    "authorization=s3cr3t": "authorization=(hidden)",
    "{'X-API-Key': 's3cr3t'}": "{'X-API-Key': '(hidden)'}",
    "b'GET /v1?token=s3cr3t&x=1 HTTP/1.1'": "b'GET /v1?token=(hidden)&x=1 HTTP/1.1'",
    '< TEXT \'{"op":"auth","token":"s3cr3t"}\'': '< TEXT \'{"op":"auth","token":"(hidden)"}\'',
    r'"{\"token\": \"s3cr3t\"}"': r'"{\"token\": \"(hidden)\"}"',
    "wss://me:s3cr3t@host/v1": "wss://me:(hidden)@host/v1",
}


@pytest.mark.parametrize("text", HIDES)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_looks_like_a_credential_is_hidden(
    log_format: logs.LogFormat, text: str, logged: Callable[[], str]
) -> None:
    logs.configure(log_format, "info")
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logging.getLogger("a.library").exception(text, extra={"also": text})
    lines = logged()
    assert "s3cr3t" not in lines
    assert logs.hide(text) == HIDES[text]
    assert lines.count(logs.HIDDEN) >= 2


@pytest.mark.parametrize(
    "text",
    ["the token is not known", "ws://127.0.0.1:8765/v1", "send it as X-API-Key", "at 12:30 a@b"],
)
def test_other_text_stays(text: str) -> None:
    assert logs.hide(text) == text
