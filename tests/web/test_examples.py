"""The examples' pages as a person sees them, in Chromium, each started as README says."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import omendb_ws
from tests.project.pages import ROOT

from .running_examples import Example, line, running, started
from .runtimes import PATIENCE_SECONDS, Chromium, Page

GROUNDS = {True: "rgb(16, 21, 28)", False: "rgb(246, 247, 249)"}


@asynccontextmanager
async def tab(chromium: Chromium, example: Example) -> AsyncIterator[Page]:
    """A tab of the example's page in which nothing may go wrong, and no other host is asked."""
    async with chromium.page() as page:
        await page.look(width=1280, height=900, dark=False)
        await page.open(example.page)
        await page.until("document.querySelector('#state').dataset.state === 'open'")
        yield page
        assert page.errors == []
        asked = {url.split("/")[2] for url in page.requests if not url.startswith("data:")}
        assert asked == example.hosts()


async def fits(page: Page, *, width: int, dark: bool) -> None:
    """Nothing stands out to the right, and the theme is the system's."""
    await page.look(width=width, height=844, dark=dark, phone=width < 500)
    assert await page.run("return document.documentElement.scrollWidth") <= width
    ground = await page.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == GROUNDS[dark]


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


def test_a_taken_port_is_said_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        for ports in (("--port", "0", "--page-port", taken), ("--port", taken, "--page-port", "0")):
            done = subprocess.run(
                [sys.executable, "-m", "examples.digits", *ports],
                cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.endswith("; --port 0 --page-port 0 take free ports\n")
            assert done.stderr.count("\n") == 1


def test_what_an_example_misses_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('none', name='fastapi')")
    done = subprocess.run(
        [sys.executable, "-m", "examples.events", "--port", "0", "--page-port", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{sys.executable} -m pip install 'omendb-ws[http]'" in done.stderr
    assert done.stderr.count("\n") == 1


# -- digits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Iterator[Example]:
    with running("examples.digits") as example:
        yield example


async def on_paper(page: Page, digit: int) -> list[list[tuple[float, float]]]:
    """The strokes of a sample, in the middle of the paper and smaller than it; in CSS pixels."""
    strokes = await page.run(f"return (await import('/samples.js')).samples[{digit}]")
    box = await page.run(
        "const { left, top, width } = document.querySelector('#paper').getBoundingClientRect();"
        "return { left, top, width }"
    )
    left, top, width = (box[name] for name in ("left", "top", "width"))
    return [
        [(left + width * (0.2 + 0.6 * x), top + width * (0.2 + 0.6 * y)) for x, y in stroke]
        for stroke in strokes
    ]


async def draw(page: Page, digit: int) -> None:
    """Draw a sample with the mouse."""

    async def mouse(kind: str, point: tuple[float, float]) -> None:
        await page.call(
            "Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left",
            clickCount=1, buttons=0 if kind == "mouseReleased" else 1,
        )  # fmt: skip

    for stroke in await on_paper(page, digit):
        await mouse("mousePressed", stroke[0])
        for point in stroke[1:]:
            await mouse("mouseMoved", point)
        await mouse("mouseReleased", stroke[-1])


async def test_the_digit_that_is_drawn_wins(chromium: Chromium, digits: Example) -> None:
    async with tab(chromium, digits) as page:
        for digit in range(10):
            await page.run("document.querySelector('#clear').click()")
            await page.until(f"{text('#winner b')} === '–'")
            await draw(page, digit)
            await page.until(f"{text('#winner b')} === '{digit}'")
            await page.until("document.querySelectorAll('#neighbours li').length === 16")
            assert await page.run(f"return {text('#said')}") == f"It is a {digit}"


async def test_a_finger_draws_and_scrolls_nothing(chromium: Chromium, digits: Example) -> None:
    async with tab(chromium, digits) as page:
        await page.look(width=390, height=844, dark=False, phone=True)
        await page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        for stroke in await on_paper(page, 0):
            for at, (x, y) in enumerate(stroke):
                kind = "touchMove" if at else "touchStart"
                await page.call(
                    "Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}]
                )
            await page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        await page.until(f"{text('#winner b')} === '0'")
        assert await page.run("return scrollY") == 0


async def test_its_figures_move(chromium: Chromium, digits: Example) -> None:
    async with tab(chromium, digits) as page:
        await page.until(f"/^[1-9][0-9]*\\/s$/.test({text('#adds')})")
        await page.run("document.querySelector('#samples button:nth-child(4)').click()")
        await page.until(f"/^[1-9][0-9]*\\/s$/.test({text('#moves')})")
        await page.until(f"/^[0-9.]+ ms$/.test({text('#round-trip')})")
        await page.until(f"{text('#winner b')} === '3'")
        # Nothing is drawn any more: what changes now was pushed.
        await page.until(f"/^[1-9][0-9]*\\/s$/.test({text('#pushes')})")


async def test_keys_draw_samples_and_clear(chromium: Chromium, digits: Example) -> None:
    async with tab(chromium, digits) as page:
        for key, winner in (("7", "7"), ("2", "2"), ("Escape", "–")):
            for kind in ("keyDown", "keyUp"):
                await page.call("Input.dispatchKeyEvent", type=kind, key=key)
            await page.until(f"{text('#winner b')} === {winner!r}")
        await page.until("document.querySelectorAll('#neighbours li').length === 0")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_digits_fit_their_window(
    chromium: Chromium, digits: Example, width: int, dark: bool
) -> None:
    async with tab(chromium, digits) as page:
        await page.run("document.querySelector('#samples button:nth-child(9)').click()")
        await page.until("document.querySelectorAll('#neighbours li').length === 16")
        await fits(page, width=width, dark=dark)


# -- recommendations ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store() -> Iterator[Example]:
    with running("examples.recommendations") as example:
        yield example


@pytest.fixture
def fresh_store() -> Iterator[Example]:
    """One in which nobody has clicked yet."""
    with running("examples.recommendations") as example:
        yield example


NAMES = "[...document.querySelectorAll('#cards li')].map((card) => card.dataset.name)"
SECTIONS = "[...document.querySelectorAll('#cards li')].map((card) => card.dataset.section)"
OTHER_NAMES = "[...document.querySelectorAll('#others button')].map((one) => one.textContent)"
PLAIN_NAMES = "[...document.querySelectorAll('#plain li')].map((one) => one.dataset.name)"
SEEN_NAMES = (
    "[...document.querySelectorAll('#plain li[data-seen=true]')].map((one) => one.dataset.name)"
)
FULL = "document.querySelectorAll('#cards li').length === 12"


async def click(page: Page, name: str | None = None) -> str:
    """Click the card of that name, or the first one; its name."""
    chosen = "card.dataset.name === " + json.dumps(name) if name else "true"
    clicked: str = await page.run(
        f"const card = [...document.querySelectorAll('#cards li')].find((card) => {chosen});"
        "card.firstChild.click(); return card.dataset.name"
    )
    return clicked


async def shaped(db: omendb_ws.Client, vector: NDArray[np.float32], clicked: int) -> list[str]:
    """Names of what is recommended after one click."""
    rows = await db.search(
        "apps", vector, k=12, include=["metadata"],
        decay={"half_life": 120, "column": "released"},
        group={"by": "section", "size": 2}, exclude=[clicked],
    )  # fmt: skip
    return [row.metadata["name"] for row in rows if row.metadata]


async def test_recommendations_follow_a_click_and_what_comes_in(
    chromium: Chromium, store: Example
) -> None:
    async with tab(chromium, store) as page, omendb_ws.connect(store.server) as db:
        await page.until(FULL)
        clicked = await click(page)
        await page.until(f"{text('#trail ol')} === {json.dumps(clicked)}")
        await page.until(f"!{NAMES}.includes({json.dumps(clicked)})")
        await page.until(f"{text('#why')} === 'Because you looked at {clicked}.'")
        (row,) = await db.search("clicks", [1.0] * 384, k=1, include=["vector", "metadata"])
        assert row.vector is not None
        assert row.metadata is not None
        item = row.metadata["item"]
        async with asyncio.timeout(PATIENCE_SECONDS):  # items come in between the two questions
            while await shaped(db, row.vector, item) != await page.run(f"return {NAMES}"):
                pass
        # Items that are as near as can be come in: nobody asks, and those of now are the first, but
        # only two of a section; the plain query has them all.
        news = {"just-1": 3600, "just-2": 3600, "just-3": 3600, "long-ago": -3600}
        ids = np.arange(1_000_000, 1_000_000 + len(news))
        metadata = [
            {"name": name, "section": "games", "about": "", "released": time.time() + seconds}
            for name, seconds in news.items()
        ]
        await db.add("apps", [row.vector] * len(news), ids=ids, metadata=metadata)
        await page.until(
            f"{NAMES}.slice(0, 2).filter((name) => name.startsWith('just-')).length === 2"
        )
        assert len({*news} & {*await page.run(f"return {NAMES}")}) == 2
        await page.until(f"{json.dumps([*news])}.every((name) => {PLAIN_NAMES}.includes(name))")
        await page.until("!document.querySelector('#cards button').classList.contains('new')")
        # With the newest gone its section has room again, but not for an old one.
        await db.delete("apps", ids[1:3])
        await page.until(f"{NAMES}[0] === 'just-1'")
        await page.until(f"!{NAMES}.includes('long-ago')")
        await db.delete("apps", ids)
        await page.until(f"!{NAMES}.includes('just-1')")


async def test_the_plain_list_shows_what_shaping_leaves_out(
    chromium: Chromium, store: Example
) -> None:
    async with tab(chromium, store) as page:
        await page.until(FULL)
        clicked: list[str] = []
        for _ in range(3):
            clicked.append(await click(page))
            await page.until(f"!{NAMES}.includes({json.dumps(clicked[-1])})")
        # The query that is not shaped has the one that was clicked last among the nearest.
        await page.until(f"{SEEN_NAMES}.includes({json.dumps(clicked[-1])})")
        await page.until(f"{SEEN_NAMES}.every((name) => {json.dumps(clicked)}.includes(name))")
        for _ in range(20):  # as answers are pushed
            names, sections = await page.run(f"return [{NAMES}, {SECTIONS}]")
            assert not set(clicked) & set(names)
            assert len(names) == 12
            assert max(Counter(sections).values()) <= 2
        await page.run("document.querySelector('#forget').click()")
        await page.until(f"{SEEN_NAMES}.length === 0")


async def judge(page: Page, card: int, verdict: str) -> str:
    """Ask for ``more`` or ``less`` like that card; its name."""
    name: str = await page.run(
        f"const card = [...document.querySelectorAll('#cards li')].at({card});"
        f"card.querySelector('.{verdict}').click(); return card.dataset.name"
    )
    await page.until(f"!{NAMES}.includes({json.dumps(name)}) && {FULL}")
    return name


async def test_more_and_less_like_a_card_move_the_one_query(
    chromium: Chromium, store: Example
) -> None:
    async with tab(chromium, store) as page, omendb_ws.connect(store.server) as db:
        await page.until(FULL)
        looked = await click(page)
        await page.until(f"!{NAMES}.includes({json.dumps(looked)}) && {FULL}")
        liked = await judge(page, 0, "more")
        disliked = await judge(page, -1, "less")
        said = f"you looked at {liked}, {looked}; want more like {liked}; less like {disliked}"
        await page.until(f"{text('#why')} === {json.dumps(f'Because {said}.')}")
        # The clicks say what it was made of, so the answer can be asked for.
        clicks = await db.search("clicks", [1.0] * 384, k=1000, include=["vector", "metadata"])
        own = next(
            row.metadata["session"]
            for row in clicks
            if row.metadata and row.metadata["verdict"] == "less"
        )  # other visitors look at the same cards
        told = {
            row.metadata["name"]: row
            for row in clicks
            if row.metadata and row.metadata["session"] == own
        }
        first, second, third = (told[name] for name in (looked, liked, disliked))
        assert [row.metadata and row.metadata["verdict"] for row in (first, second, third)] == [
            "look", "more", "less",
        ]  # fmt: skip
        assert first.vector is not None
        assert second.vector is not None
        interest = second.vector + np.float32(0.6) * first.vector
        ids = [row.metadata["item"] for row in (first, second, third) if row.metadata]

        async def due() -> list[str]:
            rows = await db.search(
                "apps", k=12, include=["metadata"], positive=[interest, ids[1]], negative=[ids[2]],
                decay={"half_life": 120, "column": "released"},
                group={"by": "section", "size": 2}, exclude=ids,
            )  # fmt: skip
            return [row.metadata["name"] for row in rows if row.metadata]

        async with asyncio.timeout(PATIENCE_SECONDS):  # items come in between the two questions
            while await due() != await page.run(f"return {NAMES}"):
                pass
        # The plain list follows looks alone, and says what is not recommended.
        told_of = r"/^([1-8]|None) of these 8 (is|are) recommended to you\.$/"
        await page.until(f"{told_of}.test({text('#difference')})")
        # What was taken back is no example any more.
        await page.run("document.querySelector('#trail li[data-verdict=less] button').click()")
        await page.until("document.querySelectorAll('#trail li[data-verdict=less]').length === 0")
        await page.until(f"{text('#why')}.endsWith({json.dumps(f'; want more like {liked}.')})")
        await page.run("document.querySelector('#forget').click()")
        await page.until("document.querySelectorAll('#trail li').length === 0")


async def test_only_chosen_sections_are_recommended(chromium: Chromium, store: Example) -> None:
    async with tab(chromium, store) as page:
        await page.until(FULL)
        for section in ("net", "utils"):
            await page.run(
                "[...document.querySelectorAll('#sections button')]"
                f".find((one) => one.textContent === '{section}').click()"
            )
            await page.until(f"{SECTIONS}.includes('{section}')")
        await page.until(f"{SECTIONS}.every((one) => ['net', 'utils'].includes(one)) && {FULL}")


async def test_what_one_window_clicks_the_others_see(
    chromium: Chromium, fresh_store: Example
) -> None:
    async with tab(chromium, fresh_store) as one:
        await one.until(FULL)  # in front: what is hidden draws nothing
        async with tab(chromium, fresh_store) as other:
            clicked = await click(one)
            await other.until(f"{OTHER_NAMES}.includes({json.dumps(clicked)})")
            await other.until(FULL)
            names = await other.run(f"return {NAMES}")
            answered = await click(other, next(name for name in names if name != clicked))
            # Clicks come in order: had its own been told to the first, it would be there by now.
            await one.until(f"{OTHER_NAMES}.includes({json.dumps(answered)})")
            assert clicked not in await one.run(f"return {OTHER_NAMES}")
        # Who comes later still sees the last minute; and can look at the same.
        async with tab(chromium, fresh_store) as late:
            await late.until(f"{OTHER_NAMES}[0] === {json.dumps(answered)}")
            assert clicked in await late.run(f"return {OTHER_NAMES}")
            await late.run("document.querySelector('#others button').click()")
            await late.until(f"{text('#trail ol')} === {json.dumps(answered)}")


async def test_the_service_recommends_in_asyncio(chromium: Chromium, store: Example) -> None:
    with started("examples.recommendations.service", "--url", store.server) as service:
        said = await asyncio.to_thread(line, service)
        assert said.startswith(f"Waiting for clicks at {store.server}")
        async with tab(chromium, store) as page:
            await page.until(FULL)
            for clicked in (await click(page), await click(page)):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while said != f"visitor 1 looks at {clicked}\n":
                        said = await asyncio.to_thread(line, service)
            # What was pushed while the move was under way may still have it.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not said.startswith("visitor 1 is shown") or clicked in said:
                    said = await asyncio.to_thread(line, service)
            for what in ("more", "less"):
                judged = await judge(page, 0, what)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while said != f"visitor 1 wants {what} like {judged}\n":
                        said = await asyncio.to_thread(line, service)
                    while not said.startswith("visitor 1 is shown") or judged in said:
                        said = await asyncio.to_thread(line, service)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_the_store_fits_its_window(
    chromium: Chromium, store: Example, width: int, dark: bool
) -> None:
    async with tab(chromium, store) as page:
        await page.until(FULL)
        await click(page)
        await fits(page, width=width, dark=dark)


async def test_what_is_worked_with_has_a_name(
    chromium: Chromium, digits: Example, store: Example
) -> None:
    async with tab(chromium, digits) as page:
        await page.press("3")
        await page.until("document.querySelectorAll('#neighbours li').length > 0")
        assert await page.nameless({"button", "list", "image", "region", "heading"}) == []
    async with tab(chromium, store) as page:
        await page.until("document.querySelectorAll('#cards li').length > 0")
        assert await page.nameless({"button", "list", "group", "region", "heading"}) == []
