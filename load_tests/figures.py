"""Figures of small benchmarks: a name, a unit, a value of each run; and how they are printed."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .simulation.environment import machine


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    unit: str
    values: Sequence[float]


def show(figures: Sequence[Figure]) -> None:
    """Print the median of each, with the lowest and the highest."""
    for name, unit, values in figures:
        low, middle, high = (f(values) for f in (min, statistics.median, max))
        digits = 0 if middle >= 1000 else 1 if middle >= 10 else 2
        shown = [f"{value:,.{digits}f}" for value in (middle, low, high)]
        print(f"{name:44} {shown[0]:>10} {unit:7} {shown[1]:>10} … {shown[2]}", flush=True)


def where() -> str:
    """This machine, in a line."""
    python = platform.python_version()
    return f"{machine()}, {os.cpu_count()} cores, Python {python}, numpy {np.__version__}"
