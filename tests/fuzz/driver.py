"""Runs a target over its seeds and over changes of them. Every input has a number, and a number
is an input: what was found is run again by ``python -m tests.fuzz NAME --first NUMBER --runs 1``.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .target import Target

#: Where inputs go that something is wrong with. Those worth keeping move to ``seeds/NAME/``.
FOUND: Final = Path("build/fuzz")


class Found(AssertionError):
    """A target that is not what it says, with the input."""


class Feeder:
    """One target and its seeds."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._seeds = target.seeds()
        self._all = list(self._seeds.values())
        self.executions = 0

    def input(self, number: int) -> bytes:
        """The changed input of that number."""
        target, chance = self.target, random.Random(f"{self.target.name}:{number}")
        data = target.mutate(chance.choice(self._all), self._all, target.words, chance)
        return data[: target.most_bytes]

    def run_seeds(self) -> None:
        """Each as it is. Found."""
        for name, data in self._seeds.items():
            self._run(data, f"seed {name}")

    def run(self, first: int, is_over: Callable[[], bool]) -> int:
        """From that number on, until it is over; the next number. Found."""
        number = first
        while not is_over():
            self._run(self.input(number), f"--first {number} --runs 1")
            number += 1
        return number

    def _run(self, data: bytes, which: str) -> None:
        self.executions += 1
        try:
            self.target.run(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            path = keep(self.target.name, data)
            raise Found(f"{self.target.name} {which}: {error!r}; the input is {path}") from error


def keep(name: str, data: bytes) -> Path:
    """Write an input down."""
    path = FOUND / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
