"""How commands wait until a cluster has done what it was asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
import typer

from omendb_ws.cli.cluster import waiting
from omendb_ws.cli.failure import LATE


def looks(*found: int) -> Callable[[], Awaitable[int]]:
    """One of these at each look; the last for ever."""
    left: Iterator[int] = iter(found)
    last = found[-1]

    async def look() -> int:
        return next(left, last)

    return look


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK_SECONDS", 0.001)


async def test_it_ends_once_it_is_so_and_says_what_changes_meanwhile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = await waiting.until(looks(3, 3, 2, 2, 0), lambda one: one == 0, "{} left".format, 60)
    assert left == 0
    assert capsys.readouterr() == ("", "omendb-ws: 3 left\nomendb-ws: 2 left\n")


async def test_what_is_so_already_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert await waiting.until(looks(0), lambda one: one == 0, str, 60) == 0
    assert capsys.readouterr().err == ""


async def test_what_is_not_so_in_time_has_an_exit_code_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        await waiting.until(looks(3), lambda one: one == 0, "{} left".format, 0.02)
    assert ended.value.exit_code == LATE
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "omendb-ws: not so within 0.02 s: 3 left; it goes on"


async def test_a_call_that_takes_too_long_is_not_taken_for_that() -> None:
    async def look() -> int:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError, match="no answer"):
        await waiting.until(look, lambda one: one == 0, str, 60)
