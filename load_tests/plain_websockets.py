"""A load test in a page, to copy: nothing but ``websockets`` and JSON.

    python load_tests/plain_websockets.py ws://127.0.0.1:8765/v1 --rate 500 --seconds 10

Fills a window, then searches at a fixed rate, whether answers come or not. A latency counts from
the moment when the search was *meant* to be sent: what a user waits who comes when he comes.
"""

import argparse
import asyncio
import json
import random
import sys
import time

from websockets.asyncio.client import ClientConnection, connect

DIM, ROWS, ROWS_A_MESSAGE = 64, 5_000, 250
COLLECTION = "plain-load"


def vector() -> list[float]:
    return [round(random.gauss(0, 1), 4) for _ in range(DIM)]


async def ask(socket: ClientConnection, op: str, **fields: object) -> dict[str, object]:
    """Send one request and wait for its answer: for what comes before the load."""
    await socket.send(json.dumps({"id": 1, "op": op, **fields}))
    reply = json.loads(await socket.recv())
    if "error" in reply:
        sys.exit(f"{op}: {reply['error']['code']}: {reply['error']['message']}")
    answer: dict[str, object] = reply["ok"]
    return answer


async def receive(socket: ClientConnection, meant: dict[int, float], times_ms: list[float]) -> int:
    """Take answers until every search has one; returns how many were errors."""
    errors = 0
    async for message in socket:
        reply = json.loads(message)
        latency_ms = (time.perf_counter() - meant.pop(reply["id"])) * 1e3
        if "error" in reply:
            errors += 1
        else:
            times_ms.append(latency_ms)
        if not meant:
            break
    return errors


async def search(socket: ClientConnection, rate: float, seconds: float) -> None:
    total = max(1, round(rate * seconds))
    queries = [vector() for _ in range(min(total, 1_000))]
    began = time.perf_counter()
    # All ids are known before the first answer can come: this is the plan, not what was done.
    meant = {number: began + number / rate for number in range(total)}
    times_ms: list[float] = []
    receiving = asyncio.create_task(receive(socket, dict(meant), times_ms))
    for number, at in meant.items():
        await asyncio.sleep(at - time.perf_counter())
        request = {"id": number, "op": "search", "collection": COLLECTION, "k": 10}
        await socket.send(json.dumps({**request, "vector": queries[number % len(queries)]}))
    errors = await receiving
    taken = time.perf_counter() - began
    answered = len(times_ms)
    print(f"{total} searches, {answered} answered, {errors} errors")
    print(f"{answered / taken:.0f} a second; {rate:.0f} wanted")
    times_ms.sort()
    if times_ms:
        of = {f"p{p:g}": times_ms[int(len(times_ms) * p / 100)] for p in (50, 90, 99, 99.9)}
        print("ms:", *(f"{name} {one:.2f}" for name, one in of.items()), f"max {times_ms[-1]:.2f}")


async def main() -> None:
    parser = argparse.ArgumentParser(description="Search at a fixed rate.")
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8765/v1")
    parser.add_argument("--rate", type=float, default=200.0, help="searches a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    async with connect(options.url, compression=None, max_size=None) as socket:
        print("server:", json.loads(await socket.recv())["server"])  # it speaks first
        await ask(socket, "create", collection=COLLECTION, dim=DIM, capacity=ROWS, if_exists="ok")
        for first in range(0, ROWS, ROWS_A_MESSAGE):
            ids = range(first, first + ROWS_A_MESSAGE)
            rows = [{"id": number, "vector": vector()} for number in ids]
            await ask(socket, "add", collection=COLLECTION, rows=rows)
        await search(socket, options.rate, options.seconds)
        await ask(socket, "drop", collection=COLLECTION)


if __name__ == "__main__":
    asyncio.run(main())
