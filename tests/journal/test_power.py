"""Killed processes and machines without power, at any moment: what was promised is there.

``make torture`` runs many more seeds (JOURNAL_SEEDS).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from omendb_core.model.types import IdKind

from omendb_ws.journal.interface import Durability
from tests.journal.ledger import Life

SEEDS = int(os.environ.get("JOURNAL_SEEDS", "200"))
IDS: list[IdKind] = ["u64", "str", "auto"]


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_no_acknowledged_change_is_lost_beyond_the_promise(durability: Durability) -> None:
    recoveries = lost = 0
    for seed in range(SEEDS // 2):
        life = Life(seed, durability, IDS[seed % 3])
        random = np.random.default_rng(seed)
        for _ in range(int(random.integers(2, 6))):
            crash_after = int(random.integers(1, 150)) if random.random() < 0.9 else None
            ended = life.live(int(random.integers(1, 40)), crash_after)
            how = str(random.choice(["power", "kill"]))
            life.end(how)
            life.check(ended, how)
        recoveries += life.recoveries
        lost += life.lost
    assert recoveries > SEEDS // 2
    # The test would see nothing if the disk never lost anything.
    assert (lost > 0) == (durability == "everysec")
