"""How much the state machines of shaped answers try.

``make test`` always tries the same few histories; ``SHAPED_RUNS=100`` a hundred times as many as
are named, others each time (``make torture``).
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

from tests.examples import examples

TIMES = int(os.environ.get("SHAPED_RUNS", "0"))


def runs(histories: int, steps: int, *, shrinks: bool = True) -> settings:
    """``shrinks``: whether a history that fails is made shorter, which may take minutes."""
    return settings(
        max_examples=histories * TIMES if TIMES else examples(histories),
        stateful_step_count=steps,
        deadline=None,
        derandomize=not TIMES,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=[HealthCheck.too_slow] if TIMES else [],
    )
