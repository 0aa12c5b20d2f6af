"""The soak: each of its turns works, and it tells growth from what comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.churn.__main__ import PACES, main
from load_tests.churn.samples import Sample, judge
from load_tests.churn.work import WINDOWS, Work
from omendb_ws.client import connect
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings

MIB = 1 << 20


def samples(resident_bytes: list[int], descriptors: list[int] | None = None) -> list[Sample]:
    """One a minute."""
    held = descriptors or [20] * len(resident_bytes)
    return [
        Sample(60.0 * at, size, count, 12)
        for at, (size, count) in enumerate(zip(resident_bytes, held, strict=True))
    ]


def test_memory_that_grows_after_the_first_minutes_is_a_fault() -> None:
    grows = judge(samples([500 * MIB, *(100 * MIB + 2 * MIB * at for at in range(12))]), 60)
    assert grows.slope_mib_per_minute == pytest.approx(2)
    assert grows.faults(1.0, 3) == ["memory grew by 2.00 MiB a minute"]


def test_memory_that_comes_and_goes_is_none() -> None:
    waves = judge(samples([MIB * (100 + at % 2) for at in range(40)]), 60)
    assert waves.faults(1.0, 3) == []


def test_descriptors_that_stay_open_are_a_fault() -> None:
    leaks = judge(samples([MIB] * 12, list(range(20, 32))), 0)
    assert leaks.faults(1.0, 3) == ["descriptors went from 21 to 30"]


def test_too_few_samples_tell_nothing() -> None:
    with pytest.raises(ValueError, match="tell nothing"):
        judge(samples([MIB] * 9), 120)


@pytest.mark.parametrize("name", PACES)
async def test_each_turn_works(name: str, tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=str(tmp_path))
    async with Server(settings) as server, connect(server.url) as db:
        work = Work(server.url, db, seed=1)
        await work.begin()
        for first in ("add_numbers", "add_names", "add_recent"):
            await getattr(work, first)()
        await getattr(work, name)()
        assert {one.collection for one in await db.list()} == set(WINDOWS)


def test_the_command_does_its_turns_and_says_what_it_did(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--minutes", "0.02", "--settled-minutes", "0", "--interval-seconds", "0.1"])
    said = capsys.readouterr().out
    done = [line for line in said.splitlines() if line.startswith("done: ")]
    assert len(done) == 1
    assert "add_numbers" in done[0]
    # In so short a time not all of it comes to its turn, and memory still grows.
    assert code == ("FAULT: " in said)
    assert " times " not in said
