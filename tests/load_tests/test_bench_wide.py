"""The bench of wide windows does all of its parts, and measures what was held."""

from __future__ import annotations

import math

import pytest

from load_tests import bench_wide as bench
from load_tests.watched_server import Holds

SMALL = [
    "--rows", "3000", "--dim", "8", "--queries", "3", "--subscriptions", "4",
]  # fmt: skip


@pytest.mark.parametrize("ids", ["u64", "str"])
def test_every_part_is_done_and_measured(ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*SMALL, "--ids", ids])
    said = capsys.readouterr().out
    for part in ("create 3,000 x 8", "fill it", "searches at once", "overwrite", "update", "delete",
                 "count", "subscribe", "read it back", "drop it"):  # fmt: skip
        assert part in said, part
    assert "rows, stated" in said


def test_the_longest_stretch_is_told_once() -> None:
    holds = Holds()
    holds.engine_ns, holds.loop_ns = 3_000_000, 1_500_000
    assert holds.take() == (3.0, 1.5)
    assert holds.take() == (0.0, 0.0)


def test_a_hold_over_the_aim_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = bench.Line("a", 1.0, 5.0, 2.0, math.nan, math.nan, "")
    bench.show(quiet)
    bench.show(quiet._replace(engine_ms=21.0))
    first, second = capsys.readouterr().out.splitlines()
    assert "!" not in first
    assert "!" in second
