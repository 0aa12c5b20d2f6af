"""The bench of novelty measures what it says: rows are compared, and nothing is left under way."""

from __future__ import annotations

from load_tests import bench_novelty as bench


def test_every_call_is_measured_over_a_window_that_stays_full() -> None:
    found = bench.measured(rows=300, dim=8, batch_rows=70, rounds=2)
    assert list(found) == ["search, k = 1", "add with unless_near", "add with a novel query"]
    assert all(one.rows_per_s > 0 < one.longest_ms for one in found.values())


def test_each_call_compares_all_rows_and_leaves_nothing_under_way() -> None:
    window = bench.filled(300, 8)
    batch = bench.vectors(70, 8, 5)
    assert len(bench.search(window, batch)) == 2
    assert bench.judge(window, batch)
    assert (window.rows, window.version, window.last_seq) == (300, 1, 300)
    assert len(bench.tell(window, batch)) > 1
    assert (window.rows, window.last_seq) == (300, 370)
    assert not window.novelty.is_behind
    assert len(window.novelty) == 0
