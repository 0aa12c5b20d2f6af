"""The neighbour, a process of its own: it fills its window, says so, and asks until told to end.

    python -m load_tests.neighbours.heavy NAME URL TOKEN [TABLE.FIELD=VALUE …]

It ends with its standard input, and says how often it was answered and how often refused.
"""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Sequence
from typing import Any

import orjson

import omendb_ws

from .asking import Asker
from .scenario import Scenario, read


def overrides(given: Sequence[str]) -> dict[str, Any]:
    """``table.field=value``, the value as TOML has it."""
    found = {}
    for one in given:
        name, _, value = one.partition("=")
        found[name] = tomllib.loads(f"value = {value}")["value"]
    return found


async def be(scenario: Scenario, url: str, token: str) -> None:
    """Be that neighbour."""
    done = [0, 0]
    async with omendb_ws.connect(url, token=token) as db:
        asker = Asker(db, url, token, scenario)
        await asker.fill()
        await asked(asker)  # what stays from one time to the next is there then
        told = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        print("ready", flush=True)
        while True:  # once at least, however short that was
            done[await asked(asker)] += 1
            if told.done():
                break
        await asker.close()
    print(*done)


async def asked(asker: Asker) -> bool:
    """Ask once; whether that was refused."""
    try:
        said = await asker.ask()
    except (omendb_ws.TooLarge, omendb_ws.Overloaded, omendb_ws.RateLimited):
        return True
    return said is not None and "error" in orjson.loads(said)


if __name__ == "__main__":
    name, url, token, *given = sys.argv[1:]
    asyncio.run(be(read(name, overrides(given)), url, token))
