"""Pictures of the dashboards of ``deploy/grafana``, drawn from a real Prometheus.

    python -m load_tests.dashboards docs/    # some two minutes; needs Debian's package prometheus

Starts a server with a data directory, work for it by two tenants, and a Prometheus that scrapes it
each second; then asks Prometheus for what each panel asks for, and draws it where Grafana would. It
is no Grafana: what is shown is that the queries have answers that make sense.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np

from deploy.grafana.dashboards import DASHBOARDS, Dashboard, document
from omendb_ws import connect
from omendb_ws.access.keyring import key_entry

_SECONDS: Final = 90
_STEP_SECONDS: Final = 2
_DIM: Final = 64
_RIGHTS: Final = ("read", "write", "admin", "operator")
_TENANTS: Final = ("shop", "news")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def _process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> None:
    """Return once somebody answers 200 there."""
    for _ in range(300):
        try:
            await asyncio.to_thread(urllib.request.urlopen, url, None, 1)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    raise OSError(f"{url} does not answer")


async def _work(url: str, tenant: str, until: float) -> None:
    """Adds and searches of one tenant, in two collections, until then; one live query."""
    rng = np.random.default_rng(len(tenant))
    async with connect(url, token=f"token-{tenant}") as db:
        names = [f"{tenant}-items", f"{tenant}-views"]
        for name in names:
            await db.create(name, dim=_DIM, capacity=20_000, metric="cosine")
        query = rng.standard_normal(_DIM).astype(np.float32)
        async with db.live(names[0], query, k=5) as live:
            reading = asyncio.create_task(_read(live))
            next_id = 0
            while time.monotonic() < until:
                for share, one in zip((8, 1), names, strict=True):
                    count = int(rng.integers(50, 400)) * share
                    await db.add(
                        one,
                        rng.standard_normal((count, _DIM)).astype(np.float32),
                        ids=np.arange(next_id, next_id + count, dtype=np.uint64),
                    )
                    next_id += count
                    for _ in range(int(rng.integers(1, 10)) * share):
                        await db.search(one, rng.standard_normal(_DIM).astype(np.float32), k=10)
                await asyncio.sleep(0.05)
            reading.cancel()


async def _read(live: Any) -> None:
    async for _ in live:
        pass


def _ask(prometheus: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    for name, value in {
        "$__rate_interval": "10s", "$instance": ".*", "$tenant": ".*", "$collection": ".*",
    }.items():  # fmt: skip
        expression = expression.replace(name, value)
    asked = urllib.parse.urlencode(
        {"query": expression, "start": start, "end": end, "step": _STEP_SECONDS}
    )
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{asked}") as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return found


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), pattern)


def _draw(dashboard: Dashboard, prometheus: str, start: float, end: float, path: Path) -> int:
    """Draw it; how many panels have no series."""
    panels = [one for one in document(dashboard)["panels"] if one["type"] != "row"]
    rows = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels)
    figure = plt.figure(figsize=(18, rows * 0.34), facecolor="#f4f5f5")
    empty = 0
    for panel in panels:
        at = panel["gridPos"]
        axes = figure.add_axes(
            ((at["x"] + 0.9) / 24, 1 - (at["y"] + at["h"] - 2.4) / rows, 6.4 / 24, 4.6 / rows)
        )
        axes.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", size=9)
        lines = 0
        for target in panel["targets"]:
            for series in _ask(prometheus, target["expr"], start, end):
                lines += 1
                if all(float(value) == 0 for _, value in series["values"]):
                    continue
                times, values = zip(*series["values"], strict=True)
                axes.plot(
                    [one - start for one in times],
                    [float(value) for value in values],
                    label=_legend(target["legendFormat"], series["metric"]),
                    linewidth=1.2,
                )
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6, loc="upper left", ncols=2 if lines > 6 else 1)
        else:
            said = "all are 0" if lines else "No data"
            axes.text(0.5, 0.5, said, ha="center", transform=axes.transAxes)
            empty += not lines
    figure.suptitle(document(dashboard)["title"], y=1 - 0.3 / rows, size=12)
    figure.savefig(path, dpi=60)
    plt.close(figure)
    return empty


async def _run(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        room, port, at = Path(made), _free_port(), _free_port()
        keys = "\n".join(key_entry(one, one, _RIGHTS, f"token-{one}") for one in _TENANTS)
        (room / "keys.toml").write_text(keys)
        (room / "tenants.toml").write_text("".join(f"[tenants.{one}]\n" for one in _TENANTS))
        (room / "token").write_text(f"token-{_TENANTS[0]}")
        (room / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "scrape_configs:\n  - job_name: omendb\n"
            f"    authorization: {{credentials_file: {room / 'token'}}}\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
        server = (
            sys.executable, "-m", "omendb_ws", "serve", "--port", str(port),
            "--data-dir", str(room / "data"), "--api-key-file", str(room / "keys.toml"),
            "--tenants-file", str(room / "tenants.toml"),
        )  # fmt: skip
        prometheus = (
            "prometheus", f"--config.file={room / 'prometheus.yml'}",
            f"--storage.tsdb.path={room / 'tsdb'}", f"--web.listen-address=127.0.0.1:{at}",
        )  # fmt: skip
        async with _process(*server), _process(*prometheus):
            await _answers(f"http://127.0.0.1:{port}/readyz")
            await _answers(f"http://127.0.0.1:{at}/-/ready")
            start = time.time()
            until = time.monotonic() + _SECONDS
            url = f"ws://127.0.0.1:{port}/v1"
            await asyncio.gather(*(_work(url, one, until) for one in _TENANTS))
            for dashboard in DASHBOARDS:
                path = folder / f"dashboard-{dashboard.name}.png"
                drawn = (dashboard, f"http://127.0.0.1:{at}", start, time.time(), path)
                empty = await asyncio.to_thread(_draw, *drawn)
                print(f"{path}: {empty} panels have no series")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.dashboards", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    asyncio.run(_run(parser.parse_args().folder))


if __name__ == "__main__":
    main()
