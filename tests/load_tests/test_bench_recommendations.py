"""The trial of recommendations runs, and tells full pages from short ones, right from wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from load_tests.bench_recommendations import Shop, Tally, allowed, stocked, visitors_of
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT

K = 30


def ran(*flags: str) -> dict[tuple[int, str], tuple[int, int, int]]:
    """Short pages, all pages, and short ones that hold all there is, by k and way."""
    done = subprocess.run(
        [sys.executable, "-m", "load_tests.bench_recommendations", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(
        r"^ *(\d+) (client, out of \d+|server) +(\d+)/(\d+) +(\d+) +[\d.]+% +\d+ µs +\d+ µs$",
        done.stdout,
        re.M,
    )
    return {(int(k), way): (int(a), int(b), int(c)) for k, way, a, b, c in lines}


def test_the_server_fills_every_page_and_the_client_cannot() -> None:
    found = ran("--visitors", "3", "--k", "50", "--prefetch", "50", "200")
    assert set(found) == {(50, "client, out of 50"), (50, "client, out of 200"), (50, "server")}
    # 20 of the 100 nearest were seen: a page of 50 out of 50 rows has no room for one.
    assert found[50, "client, out of 50"] == (3, 3, 0)
    assert found[50, "server"] == (0, 3, 0)


def test_a_window_that_lacks_rows_is_told_from_a_page_that_was_not_filled() -> None:
    found = ran("--visitors", "2", "--items", "8", "--k", "20", "--prefetch", "24")
    assert found[20, "server"] == (2, 2, 2)  # 24 rows, of which 20 were seen
    assert found[20, "client, out of 24"] == (2, 2, 2)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return stocked(100, np.random.default_rng(1))


def test_a_page_that_is_not_the_best_is_wrong(shop: Shop) -> None:
    (visitor,) = visitors_of(shop, 1, np.random.default_rng(2))
    best = allowed(visitor.order.tolist(), shop, visitor, K)
    assert len(best) == K
    beyond = allowed([row for row in visitor.order.tolist() if row != best[0]], shop, visitor, K)
    crowded = [row for row in visitor.order.tolist() if row not in visitor.seen][:K]
    pages = {
        "right": best,
        "too few": best[:-1],
        "without the best": beyond,
        "in another order": best[::-1],
        "with one that was seen": [min(visitor.seen), *best[1:]],
        "with one twice": [*best[:-1], best[0]],
        "too many of a section": crowded,
    }
    assert crowded != best
    for name, page in pages.items():
        tally = Tally()
        tally.judge(page, shop, visitor, K)
        assert tally.wrong == (name != "right"), name
        assert tally.short == (name == "too few"), name
        assert tally.short_of_rows == 0, name
