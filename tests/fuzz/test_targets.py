"""Every target, bounded: its seeds, what was found before among them, and some changed inputs.

The same inputs each time. ``make torture`` goes on from there (``python -m tests.fuzz``).
"""

from __future__ import annotations

import pytest

from tests.fuzz.driver import Feeder
from tests.fuzz.registry import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_what_it_says_of_its_seeds_and_of_changed_ones(name: str) -> None:
    feeder = Feeder(TARGETS[name])
    feeder.run_seeds()
    seeds = feeder.executions
    assert seeds
    runs = TARGETS[name].runs
    feeder.run(0, lambda: feeder.executions - seeds >= runs)


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_is_its_number(name: str) -> None:
    one, other = Feeder(TARGETS[name]), Feeder(TARGETS[name])
    there = [one.input(number) for number in range(60)]
    back = [other.input(number) for number in reversed(range(60))]
    assert there == back[::-1]
    assert len(set(there)) > 30
