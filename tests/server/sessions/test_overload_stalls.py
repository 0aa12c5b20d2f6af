"""The controller after a moment in which the engine stood still, under a load that it can take."""

from __future__ import annotations

import random

import pytest

from omendb_ws.sessions.overload import LOOK_SECONDS
from omendb_ws.tenants.share import TenantShare

from .test_overload import LOOK_US, Asker, Server

#: A scan, each query in it, and how many are answered by one; half of the time is left.
SCAN_US = 300.0
QUERY_US = 45.0
TOGETHER = 128
USUALLY_TOGETHER = 6
ADD_US = 600.0
SEARCHES_A_LOOK = 50
ADDS_A_LOOK = 3.9
BEGINS, LOOKS = 100, 300


class Scanning(Server):
    """Searches that wait are answered by one scan, so that each takes less the more there are."""

    def __init__(self) -> None:
        super().__init__()
        tenant = TenantShare()
        self.searching = [self.join(tenant, 0.0) for _ in range(8)]
        self.adding = self.join(tenant, ADD_US)
        self.is_still = False

    def _work(self) -> None:
        if self.is_still:
            return
        self._left_us += LOOK_US
        self._shares.end_tick(one.load.share for one in self.askers if one.arrivals)
        while self._left_us > 0 and any(one.arrivals for one in self.askers):
            waiting = sum(len(one.arrivals) for one in self.searching)
            count = min(waiting, USUALLY_TOGETHER if waiting <= SEARCHES_A_LOOK else TOGETHER)
            for _ in range(count):
                self._answer(self._next(), SCAN_US / count + QUERY_US)
            if self.adding.arrivals:
                self._answer(self.adding, ADD_US)
        self._left_us = min(self._left_us, 0.0)

    def _next(self) -> Asker:
        waiting = (one for one in self.searching if one.arrivals)
        return min(waiting, key=lambda one: (self._shares.place(one.load.share), one.arrivals[0]))

    def _answer(self, asker: Asker, took_us: float) -> None:
        self._left_us -= took_us
        self._take(asker, took_us)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("still_ms", [50, 100, 150, 200])
def test_what_came_while_the_engine_stood_still_is_answered(still_ms: int, seed: int) -> None:
    server = loaded(still_ms, seed)
    assert [(one.answered > 0, one.refused) for one in server.askers] == [(True, 0)] * 9
    assert server.waits_us(2.0)[-1] <= 20_000, "and soon it is as before"


@pytest.mark.parametrize("seed", range(3))
def test_after_a_longer_time_few_are_refused_and_not_for_long(seed: int) -> None:
    """Who adds alone has more than a share of the time, and nearly all of its adds go in."""
    server = loaded(300, seed)
    assert sum(one.refused for one in server.searching) <= 250
    assert server.adding.refused <= 35
    assert not server.overload.is_shedding
    assert server.waits_us(2.0)[-1] <= 20_000


def loaded(still_ms: int, seed: int) -> Scanning:
    """For three seconds, of which it stands still for that long after the first."""
    server, numbers, owed = Scanning(), random.Random(seed), 0.0
    until = BEGINS + still_ms / 1000 / LOOK_SECONDS
    for look in range(LOOKS):
        server.is_still = BEGINS <= look < until
        for _ in range(SEARCHES_A_LOOK):
            server.ask(numbers.choice(server.searching))
        owed += ADDS_A_LOOK
        server.ask(server.adding, int(owed))
        owed -= int(owed)
        server.pass_(LOOK_SECONDS)
    return server
