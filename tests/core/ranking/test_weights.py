"""What ages take off scores under decay: the same bits by every way to compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import NULL_INTEGER, Definition
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay
from omendb_core.state import WindowState
from omendb_core.window import Window

from tests.core.variants import NUMPY, VARIANTS, computing_with

CAPACITY = 300
TIMES = np.array([0.0, 1.8e9, -1e308, 1e308, 5e-324, np.nan, 1.8e9 - 1, 12.5])
SECONDS = np.array([0, 2**53, -(2**53), NULL_INTEGER, 1_800_000_000, 7])


def state_of_any_times() -> WindowState:
    rng = np.random.default_rng(0)
    state = Window(Definition(2, CAPACITY, "dot", "auto", {"t": "f64", "s": "i64"})).state
    columns = {"t": rng.choice(TIMES, CAPACITY), "s": rng.choice(SECONDS, CAPACITY)}
    state.columns.write(np.arange(CAPACITY), columns)
    state.times_us[:] = 1_800_000_000_000_000 + np.arange(CAPACITY) * 777
    return state


@pytest.mark.parametrize("column", [None, "t", "s"])
@pytest.mark.parametrize("half_life", [1e-3, 1.0, 3600.0, 1e12])
@pytest.mark.parametrize("at", [0.0, 1.8e9, -1e300, 1e300])
def test_weights_have_the_same_bits_by_every_way(
    column: str | None, half_life: float, at: float
) -> None:
    state, decay = state_of_any_times(), Decay(half_life, column)
    for slots in (np.arange(CAPACITY)[::-1], np.array([5, 5, 0]), np.array([], np.int64)):
        with computing_with(NUMPY):
            expected = orders.weights(decay, state, slots, at)
        numbers = expected[~np.isnan(expected)]
        assert (numbers >= 0).all()
        assert np.isfinite(numbers).all()
        for variant in VARIANTS:
            with computing_with(variant):
                found = orders.weights(decay, state, slots, at)
            assert (found.dtype, found.tobytes()) == (np.float32, expected.tobytes())


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (0, "none", "lanes"),
        (1, None, "integers or numbers"),
        (1, np.zeros(3), "integers"),
        (6, np.array([3]), "slots"),
        (6, np.array([-1]), "slots"),
        (7, np.zeros(2, np.float32), "weights"),
        (7, np.zeros(1), "weights"),
    ],
)
def test_rows_and_times_that_are_not_there_are_refused(
    place: int, wrong: Any, message: str
) -> None:
    given = ["portable", np.zeros(3, np.int64), None, 1.0, 1.0, 0.0, np.array([2]),
             np.zeros(1, np.float32)]  # fmt: skip
    given[place] = wrong
    with pytest.raises((TypeError, ValueError, IndexError, BufferError), match=message):
        native.compiled.decay_weights(*given)
