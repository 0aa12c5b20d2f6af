"""The streaming bench runs, and sees answers that are wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest

from load_tests import bench_streaming as bench

SMALL = [
    "--rows", "600", "--dim", "8", "--rate", "400", "--stages", "3", "--seconds", "0.2",
    "--connections", "3", "--filled",
]  # fmt: skip


def test_each_stage_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(SMALL)
    lines = re.findall(r"^ +([\d,]+) +([\d,]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d,]+)",
                       capsys.readouterr().out, re.M)  # fmt: skip
    assert len(lines) == 3
    assert all(float(one[1].replace(",", "")) > 0 for one in lines)


def test_an_answer_that_leaves_out_a_better_row_is_seen() -> None:
    rows, queries = bench.vectors(50, 8, 1), bench.vectors(2, 8, 2)
    best = np.argsort(-(rows.astype(np.float64) @ queries[0].astype(np.float64)))[:3].tolist()

    def asked(ids: list[int]) -> list[bench.Asked]:
        return [bench.Asked(0.001, 0, 1, ids)]

    assert bench.wrong(asked(best), rows, queries, 50, 3) == 0
    assert bench.wrong(asked(best[1:]), rows, queries, 50, 3) == 1
    worst = int(np.argmin(rows @ queries[0]))
    assert bench.wrong(asked([*best[:2], worst]), rows, queries, 50, 3) == 1
    # Rows that came later may be better than all that is known of.
    assert bench.wrong(asked([60, *best[:2]]), rows, queries, 50, 3) == 0


def test_jitter_is_how_much_longer_the_slowest_take() -> None:
    assert bench.Stage(1, 1.0, 2.0, 5.0, 1.0, 0).jitter == 2.5
