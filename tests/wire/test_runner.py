"""tests/vectors/run.py, which asks programs in other languages about the golden messages."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest

from tests.project.pages import ROOT
from tests.vectors import run
from tests.wire.answering import answer

CASES: dict[str, Any] = {
    one["name"]: one for one in json.loads((run.FOLDER / "index.json").read_text("utf-8"))
}


def asked(name: str) -> Any:
    return json.loads(json.dumps(answer(run.question(CASES[name], run.message(CASES[name])))))


def fault(name: str, given: Any) -> str | None:
    return run.fault(CASES[name], run.message(CASES[name]), given)


@pytest.mark.parametrize("name", list(CASES))
def test_this_projects_codec_answers_every_question(name: str) -> None:
    assert fault(name, asked(name)) is None


def test_a_program_is_asked_about_every_message(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert run.run([sys.executable, "-m", "tests.wire.answering"]) == 0
    assert capfd.readouterr().out == f"{len(CASES)} right, 0 wrong, 0 skipped, 0 missing\n"


def test_wrong_skipped_and_missing_answers_are_counted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert run.run(["echo", '{"skip": true}']) == 2
    assert run.run(["echo", '{"text": "{}"}']) == 1
    out = capfd.readouterr().out
    assert f"0 right, 0 wrong, 1 skipped, {len(CASES) - 1} missing\n" in out
    assert f"0 right, 1 wrong, 0 skipped, {len(CASES) - 1} missing\n" in out


def test_what_is_wrong_is_named() -> None:
    assert fault("binary-added", None) == "not an object: None"
    right = asked("binary-added")["meaning"]
    wrong = fault("binary-added", {"meaning": {**right, "version": 4}})
    assert wrong == "meaning.version: 4 instead of 3"
    assert "more" in (fault("binary-added", {"meaning": {**right, "more": 1}}) or "")
    short = {name: value for name, value in right.items() if value not in (None, False)}
    assert fault("binary-added", {"meaning": short}) is None
    assert (fault("text-ping", {"text": '{"op":"ping"}'}) or "").startswith("text.id: None")
    assert fault("text-ping", {"text": '{ "op": "ping", "id": 0 }'}) is None


def test_frames_are_compared_byte_by_byte_but_for_their_json() -> None:
    name = "binary-search-filtered"
    frame = run.message(CASES[name])
    head, body, rest = run.split(frame)
    spaced = json.dumps(body, indent=1).encode()
    other = head[:24] + len(spaced).to_bytes(4, "little") + head[24:] + spaced
    other += bytes(-len(spaced) % 8) + rest
    assert fault(name, {"base64": base64.b64encode(other).decode()}) is None
    for changed, what in (
        (frame[:-1], "sections"),
        (bytes([0]) + frame[1:], "header"),
        (b"", "header"),
    ):
        found = fault(name, {"base64": base64.b64encode(changed).decode()})
        assert (found or "").startswith(what)
