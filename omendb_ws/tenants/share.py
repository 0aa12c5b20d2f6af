"""A tenant's share of the engine's time: its weight, and what it has had.

``weight`` is its account's to set, on the loop's thread; the rest is the engine's
(``engine/model/shares.py``).
"""

from __future__ import annotations


class TenantShare:
    """``weight``: how many times the time of a tenant of weight 1.

    ``start_us``: where its next piece of work begins on the clock of the tenants; ``now_us``: the
    clock of its connections; ``used_us``: what its work has taken, ever.
    """

    __slots__ = ("now_us", "start_us", "used_us", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.start_us = self.now_us = self.used_us = 0.0
