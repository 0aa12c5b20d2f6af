"""Measures a page that follows a fast stream: pushes and frames a second in headless Chromium.

    python -m load_tests.bench_browser

A producer adds 20,000 rows a second to a full window; a page of the server has live queries and the
map open, and copies the newest of each into the page at every frame, as an application would.
*Pushes* are those that arrived in the page, *frames* are calls of ``requestAnimationFrame`` (a
screen's 60 a second is the most there can be). Needs ``chromium`` on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

import omendb_ws
from tests.web.runtimes import Chromium, Page

from .figures import Figure, show, where
from .simulation.server import serving

CAPACITY: Final = 100_000
DIM: Final = 64
ADDS_PER_SECOND: Final = 100

#: Counts for `seconds`; `lines` and `canvas` are what a person would look at.
PAGE: Final = """
const { connect } = await import("/client.js");
const db = await connect(url);
const counts = { pushes: 0, points: 0, frames: 0 };
document.body.replaceChildren();
const shown = (name) => document.body.appendChild(document.createElement(name));
const lines = Array.from({ length: queries }, () => shown("p"));
const canvas = shown("canvas");
const direction = () => Float32Array.from({ length: dim }, () => Math.random() - 0.5);
const live = lines.map(() => db.live("stream", direction(), { k: 10 }));
const map = db.map("stream", { every: 250 });
const count = ({ detail }) => { counts.pushes += detail.changes !== null; };
for (const one of live) one.addEventListener("data", count);
map.addEventListener("data", () => { counts.points += 1; });
const worst = { gap: 0, last: performance.now() };
function frame(now) {
  counts.frames += 1;
  worst.gap = Math.max(worst.gap, now - worst.last);
  worst.last = now;
  live.forEach((one, at) => {
    const scores = Array.from(one.answer ?? [], (row) => row.score.toFixed(3));
    lines[at].textContent = scores.join(" ");
  });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const { x, y } of map.points.values()) context.fillRect(150 + 300 * x, 75 + 150 * y, 1, 1);
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
await pause(2000);
Object.assign(counts, { pushes: 0, points: 0, frames: 0 });
worst.gap = 0;
const began = performance.now();
await pause(seconds * 1000);
const took = (performance.now() - began) / 1000;
const told = [counts.pushes / took, counts.points / took, counts.frames / took, worst.gap];
db.close();
return told;
"""


async def stream(db: omendb_ws.Client, rows_per_second: int, sent: list[int]) -> None:
    """Add at the rate given until cancelled; what is late is made up for."""
    generator = np.random.default_rng(2)
    rows = rows_per_second // ADDS_PER_SECOND
    batches = [generator.standard_normal((rows, DIM), dtype=np.float32) for _ in range(50)]
    began = time.perf_counter()
    for number in range(1 << 40):
        await db.add("stream", batches[number % len(batches)])
        sent[0] += rows
        await asyncio.sleep(max(0.0, began + (number + 1) / ADDS_PER_SECOND - time.perf_counter()))


async def measured(url: str, page: Page, queries: int, rate: int, seconds: int) -> list[float]:
    """A second: rows, pushes, pushes of the map, frames; and the longest frame in ms."""
    async with omendb_ws.connect(url) as db:
        await db.create("stream", dim=DIM, capacity=CAPACITY, ids="auto")
        first = np.random.default_rng(1).standard_normal((CAPACITY, DIM), dtype=np.float32)
        await db.add("stream", first)
        sent, began = [0], time.perf_counter()
        producer = asyncio.create_task(stream(db, rate, sent))
        given = f"const [url, queries, dim, seconds] = ['{url}', {queries}, {DIM}, {seconds}];"
        told = await page.run(given + PAGE)
        rows_per_second = sent[0] / (time.perf_counter() - began)
        producer.cancel()
        await asyncio.wait([producer])
        await db.drop("stream")
    return [rows_per_second, *told]


async def measure(queries: int, rate: int, seconds: int, runs: int) -> None:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        serving() as server,
        Chromium.started(Path(profile)) as browser,
    ):
        async with browser.page() as page:
            await page.open(server.url.replace("ws://", "http://").replace("/v1", "/livez"))
            told = [await measured(server.url, page, queries, rate, seconds) for _ in range(runs)]
    rows, pushes, points, frames, gaps = zip(*told, strict=True)
    print(f"\n{queries} live queries and the map; medians of {runs} runs, and their ranges")
    show(
        [
            Figure("rows streamed in", "/s", rows),
            Figure("pushes that change an answer", "/s", pushes),
            Figure("pushes of the map", "/s", points),
            Figure("frames", "/s", frames),
            Figure("longest frame", "ms", gaps),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.bench_browser")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rate", type=int, default=20_000, help="rows a second")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    print(where())
    asyncio.run(measure(asked.queries, asked.rate, asked.seconds, asked.runs))


if __name__ == "__main__":
    main()
