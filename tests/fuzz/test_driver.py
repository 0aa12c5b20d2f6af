"""What the driver does with what it finds: it says which input it was, and keeps it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fuzz import driver
from tests.fuzz.driver import Feeder, Found
from tests.fuzz.target import Bounds, Target, measured


def odd(data: bytes) -> None:
    if b"x" in data:
        raise KeyError("it does not like an x")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(driver, "FOUND", tmp_path)
    return tmp_path


def test_what_is_found_is_kept_and_found_again_by_its_number(kept: Path) -> None:
    target = Target("odd", odd, words=[b"x"], made=lambda: {"one": b"abc" * 20})
    feeder = Feeder(target)
    feeder.run_seeds()
    with pytest.raises(Found, match="does not like an x") as found:
        feeder.run(0, lambda: feeder.executions > 10_000)
    number = re.search(r"--first (\d+) --runs 1", str(found.value))
    assert number is not None
    (file,) = (kept / "odd").iterdir()
    assert file.read_bytes() == Feeder(target).input(int(number[1]))
    with pytest.raises(KeyError):
        target.run(file.read_bytes())


def test_work_and_memory_beyond_the_bounds_are_found() -> None:
    calls, peak_bytes = measured(lambda: [len(bytes(1000)) for _ in range(500)])
    assert 500 <= calls < 3000
    assert 1000 <= peak_bytes < 100_000
    data = next(bytes([n]) for n in range(256) if driver_measures(bytes([n])))
    for fuzz in (lambda _: [len("") for _ in range(3000)], lambda _: bytes(1 << 20)):
        target = Target("greedy", fuzz, bounds=Bounds(1000, 0, 100_000, 0))  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match=r"\d+ (calls|bytes at once)"):
            target.run(data)


def driver_measures(data: bytes) -> bool:
    """Whether an input is one of those whose work is counted."""
    counted: list[bytes] = []
    Target("count", counted.append).run(data)
    return len(counted) > 1
