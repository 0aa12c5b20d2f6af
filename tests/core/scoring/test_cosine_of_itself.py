"""What PROTOCOL, the pages and the clients say of a vector's cosine with itself."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.scoring import score


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 16, 100])
def test_a_vectors_cosine_with_itself_is_one_within_two_to_the_minus_23(dim: int) -> None:
    rows = np.random.default_rng(dim).normal(size=(20_000, dim)).astype(np.float32)
    prepared = score.prepare(rows, "cosine")
    found = score.score_pairs("cosine", prepared, prepared)
    assert np.abs(found.astype(np.float64) - 1).max() <= 2**-23
    assert (found >= np.float32(0.999999)).all()
    if dim == 3:
        assert (found < 1).any()
        assert (found > 1).any()
