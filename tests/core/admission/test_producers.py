"""What is remembered of producers, against a model; and that it takes what it is said to take."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from omendb_core.admission.producers import REMEMBERED_BATCHES, Producers
from omendb_core.model.change import Repeated
from omendb_core.model.errors import OutOfOrder

LIMIT = 3


def test_the_last_batches_of_each_are_known_and_those_before_are_not() -> None:
    producers, random = Producers(LIMIT), np.random.default_rng(4)
    model: dict[str, list[tuple[int, int]]] = {}
    for turn in range(2_000):
        if turn % 100 == 99:  # as a log brings it back
            again = Producers(LIMIT)
            again.resume(producers.state())
            assert again.state() == producers.state()
            assert again.nbytes == producers.nbytes
            producers = again
        name = f"p{random.integers(5)}" * int(random.integers(1, 9))
        batch = len(model.get(name, ())) + 1
        assert producers.look(name, batch) is None
        first_seq = 10 * turn + 1
        # Of some no row goes in.
        seqs = (first_seq, first_seq + int(random.integers(3)) - 1)
        before, grows = producers.nbytes, producers.growth(name)
        producers.accept(name, batch, *seqs)
        assert producers.nbytes - before <= grows
        model[name] = [*model.pop(name, []), seqs]
        if len(model) > LIMIT:
            del model[next(iter(model))]
        assert len(producers) == len(model)
        for known, got in model.items():
            with pytest.raises(OutOfOrder):
                producers.look(known, len(got) + 2)
            back = int(random.integers(2 * REMEMBERED_BATCHES))
            if back < len(got):
                found, (first, last) = producers.look(known, len(got) - back), got[-1 - back]
                is_told = back < REMEMBERED_BATCHES and first <= last
                assert found == (Repeated(first, last) if is_told else Repeated(None, None))
        assert [name for name, _, _ in producers.state()] == list(model)


@pytest.mark.parametrize("batches", [1, 20])
@pytest.mark.parametrize(
    "name_of", [lambda n: f"p{n}", lambda n: f"{n:0256d}", lambda n: f"\U0001f600{n:0255d}"]
)
def test_they_take_what_they_are_said_to_take(name_of: Callable[[int], str], batches: int) -> None:
    count = 6_000
    producers = Producers(count)
    gc.collect()
    tracemalloc.start()
    for batch in range(1, batches + 1):
        for n in range(count):
            producers.accept(name_of(n), batch, 10**12 + n, 10**12 + n)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 * producers.nbytes <= taken <= 1.1 * producers.nbytes
    for n in range(count):
        producers.accept(f"other{n}", 1, 1, 1)
    assert producers.nbytes < count * 600
