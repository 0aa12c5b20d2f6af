"""A few rounds of ``kill.py``; ``make torture`` runs hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.kill import Torture


@pytest.mark.parametrize("durability", ["everysec", "always"])
async def test_kill_nine_loses_nothing_that_was_acknowledged(
    durability: str, tmp_path: Path
) -> None:
    report = await Torture(tmp_path, seed=6, durability=durability).run(4)
    assert report.rounds == 4
    assert report.acknowledged > 0
