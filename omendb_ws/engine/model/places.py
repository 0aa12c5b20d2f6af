"""Where connections stand among those that wait, as entries of a heap: the least is next."""

from __future__ import annotations

from typing import NamedTuple

from .shares import Shares
from .ticket import Lane


class Place(NamedTuple):
    """Of those that stand alike the least ``number`` is next; no two have the same."""

    tenant_us: float
    connection_us: float
    number: int
    lane: Lane


def place_of(shares: Shares, lane: Lane, number: int) -> Place:
    """Where ``lane`` stands now; later it stands there or behind."""
    return Place(*shares.place(lane.share), number, lane)
