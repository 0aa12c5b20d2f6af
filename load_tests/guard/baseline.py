"""The figures that were recorded, and what others are beside them."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ..aims.table import number
from ..simulation.environment import machine, revision, versions

PATH: Final = Path(__file__).with_name("baseline.json")
#: More than this share above what was recorded is a regression: counts are the same from run to
#: run, but not between compilers; ratios differ by a fifth on a busy machine.
TOLERANCE: Final = {"instructions": 0.1, "ratios": 0.4}


@dataclass(frozen=True)
class Baseline:
    """Figures by kernel, then by name; ``where`` says on what they were recorded."""

    instructions: dict[str, dict[str, float]]
    ratios: dict[str, dict[str, float]]
    where: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One figure beside what was recorded of it."""

    name: str
    now: float
    recorded: float
    tolerance: float

    @property
    def is_worse(self) -> bool:
        """By more than may be."""
        return self.now > self.recorded * (1 + self.tolerance)

    def __str__(self) -> str:
        change = 100 * (self.now / self.recorded - 1)
        word = "WORSE" if self.is_worse else "fine"
        if change < -100 * self.tolerance:
            word = "better: record it"
        return (
            f"{self.name:52}{number(self.now):>12} recorded {number(self.recorded):>10} "
            f"{change:+7.1f}% (up to {100 * self.tolerance:+.0f}%)  {word}"
        )


def load() -> Baseline:
    """What was recorded."""
    return Baseline(**orjson.loads(PATH.read_bytes()))


def save(made: Baseline) -> None:
    """Record."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    PATH.write_bytes(orjson.dumps(dataclasses.asdict(made), option=options))


def where() -> dict[str, Any]:
    """What figures depend on."""
    return {
        "machine": machine(), "python": platform.python_version(), "git_revision": revision(),
        "versions": versions(),
    }  # fmt: skip


def verdicts(
    kind: str, recorded: Mapping[str, Mapping[str, float]], kernel: str, now: Mapping[str, float]
) -> Iterator[Verdict | str]:
    """Of each figure of ``kind``; text for what was not recorded."""
    for name, figure in now.items():
        known = recorded.get(kernel, {}).get(name)
        if known is None:
            yield f"{name}: nothing is recorded for the kernel {kernel}: skipped"
        else:
            yield Verdict(f"{name} ({kernel})", figure, known, TOLERANCE[kind])
