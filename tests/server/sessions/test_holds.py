"""What comes behind a held request is heard afterwards: all of it, in order, however much."""

from __future__ import annotations

import asyncio

from omendb_ws.sessions.holds import Holds
from omendb_ws.sessions.long_work import LongRequests


def heard_by(holds: Holds) -> list[str]:
    """What is heard; each message holds its session, and lets go of it at once."""
    heard: list[str] = []

    def hear(message: str | bytes) -> None:
        if holds.bytes_of:
            holds.behind.append(message)
            return
        heard.append(f"{message!s} begins")
        holds.begin(1).end()
        heard.append(f"{message!s} ends")

    holds.hear = hear
    return heard


def begun_and_ended(count: int) -> list[str]:
    return [f"{number} {what}" for number in range(count) for what in ("begins", "ends")]


def test_many_that_hold_for_no_time_are_heard_one_after_another() -> None:
    went_on: list[int] = []
    holds = Holds(LongRequests(), lambda: went_on.append(len(holds.behind)))
    heard = heard_by(holds)
    first = holds.begin(1)
    for number in range(10_000):
        holds.hear(str(number))
    assert not heard
    first.end()
    assert heard == begun_and_ended(10_000)
    assert went_on == [0]


async def test_a_second_hold_keeps_what_is_still_behind() -> None:
    holds = Holds(LongRequests(), lambda: None)
    heard = heard_by(holds)
    first, second = holds.begin(1), holds.begin(2)
    holds.hear("0")
    first.end()
    await asyncio.sleep(0)
    assert not heard
    second.end()
    assert heard == begun_and_ended(1)


def test_after_a_fault_the_others_are_heard() -> None:
    holds = Holds(LongRequests(), lambda: None)
    heard: list[str | bytes] = []

    def hear(message: str | bytes) -> None:
        heard.append(message)
        if message == "0":
            raise ValueError(message)

    holds.hear = hear
    hold = holds.begin(1)
    holds.behind.extend(("0", "1"))
    for _ in range(2):
        try:
            hold.end()
        except ValueError:
            continue
    assert heard == ["0", "1"]
