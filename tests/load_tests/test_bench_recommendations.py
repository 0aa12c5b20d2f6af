"""The trial of recommendations runs, and tells full pages from short ones, right from wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from load_tests.visitors import Session, Shop, Tally, allowed, due, stocked, visitors_of
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
        r"^ *(\d+) (\w.*?) +([\d,]+)/([\d,]+) +(\d+) +[\d.]+%(?: +\d+ µs +\d+ µs)?$",
        done.stdout,
        re.M,
    )
    return {
        (int(k), way): (int(a.replace(",", "")), int(b.replace(",", "")), int(c))
        for k, way, a, b, c in lines
    }


def test_the_server_fills_every_page_and_the_client_cannot() -> None:
    live = ("--live-k", "50", "--live-prefetch", "50")
    found = ran("--visitors", "3", "--k", "50", "--prefetch", "50", "200", *live)
    assert set(found) == {
        (50, way)
        for way in (
            "client, out of 50", "client, out of 200", "server",
            "client, out of 50, live", "server, live", "server, pushed",
        )
    }  # fmt: skip
    # 20 of the 100 nearest were seen: a page of 50 out of 50 rows has no room for one.
    assert found[50, "client, out of 50"] == (11, 11, 0)
    assert found[50, "client, out of 50, live"] == (11, 11, 0)
    assert found[50, "server"] == found[50, "server, live"] == (0, 11, 0)
    short, pushed, _ = found[50, "server, pushed"]
    assert short == 0 < pushed


def test_a_window_that_lacks_rows_is_told_from_a_page_that_was_not_filled() -> None:
    flags = ("--k", "20", "--prefetch", "24", "--live-k", "20", "--live-prefetch", "24")
    found = ran("--visitors", "2", "--items", "8", *flags)
    for way in ("server", "client, out of 24"):  # 24 rows, of which 20 were seen
        assert found[20, way] == found[20, f"{way}, live"] == (7, 7, 7)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return stocked(100, np.random.default_rng(1))


def test_a_page_that_is_not_the_best_is_wrong(shop: Shop) -> None:
    (visitor,) = visitors_of(shop, 1, np.random.default_rng(2))
    seen, (scores,) = set(visitor.seen), shop.scores([visitor.interest])
    order = np.argsort(-scores).tolist()
    best = due(shop, seen, scores, K)
    assert len(best) == K
    beyond = allowed([row for row in order if row != best[0]], shop, seen, K)
    crowded = [row for row in order if row not in seen][:K]
    pages = {
        "right": best,
        "too few": best[:-1],
        "without the best": beyond,
        "in another order": best[::-1],
        "with one that was seen": [min(seen), *best[1:]],
        "with one twice": [*best[:-1], best[0]],
        "too many of a section": crowded,
    }
    assert crowded != best
    for name, page in pages.items():
        tally = Tally()
        tally.judge(page, shop, seen, scores, K)
        assert tally.wrong == (name != "right"), name
        assert tally.short == (name == "too few"), name
        assert tally.short_of_rows == 0, name


def test_visitors_look_at_as_many_pages_as_in_the_trial_and_see_none_again(shop: Shop) -> None:
    visitors = visitors_of(shop, 2_000, np.random.default_rng(2))
    assert sum(one.pages for one in visitors) == 7_261
    session = Session(visitors[0])
    before, page = session.interest, due(shop, session.seen, shop.scores([session.interest])[0], K)
    session.look(page, shop)
    assert session.seen == visitors[0].seen | set(page)
    assert (session.interest != before).any()
    assert not set(page) & set(due(shop, session.seen, shop.scores([session.interest])[0], K))


def test_a_release_changes_the_rows_that_it_names_and_their_scores(shop: Shop) -> None:
    later = shop.copy()
    places = set(later.release(5, np.random.default_rng(3)).tolist())
    assert len(places) == 5
    (before,), (after,) = (one.scores([shop.vectors[0]]) for one in (shop, later))
    assert set(np.flatnonzero(before != after).tolist()) == places
    assert set(np.flatnonzero((shop.vectors != later.vectors).any(axis=1)).tolist()) == places
