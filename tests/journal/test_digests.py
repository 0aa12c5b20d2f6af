"""A digest tells windows apart by what they hold, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.types import IdKind
from omendb_core.replay import checkpoint_of, kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.digests import digest_of
from tests.core.windows import LIMITS, definition, history


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_windows_that_hold_the_same_have_the_same_digest_however_they_came_to_it(
    ids: IdKind,
) -> None:
    for seed in range(20):
        window = Window(definition(ids), LIMITS)
        changes = history(window, seed, 80)
        for _ in range(40):
            next(changes)
        late = Window(definition(ids), LIMITS)  # numbers the texts of columns otherwise
        resume(late, checkpoint_of(window))
        replay(late, kept_rows(window, window.first_seq, window.last_seq))
        for change in changes:
            replay(late, change)
            stretch = window.first_seq, window.last_seq
            assert digest_of(kept_rows(late, *stretch)) == digest_of(kept_rows(window, *stretch))


def test_any_other_bit_is_another_digest() -> None:
    window = Window(definition("u64"), LIMITS)
    for _ in history(window, 4, 30):
        pass
    stretch = window.first_seq, window.last_seq
    before = digest_of(kept_rows(window, *stretch))
    slots = window.state.ring.live_slots(*stretch)
    for values in (window.state.ring.vectors, window.state.times_us):
        bytes_ = values[slots[0] : slots[0] + 1].view(np.uint8)
        bytes_ ^= 1
        assert digest_of(kept_rows(window, *stretch)) != before
        bytes_ ^= 1
    assert digest_of(kept_rows(window, *stretch)) == before
