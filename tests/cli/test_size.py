"""``omendb-ws size``: what it says, and that it measures."""

from __future__ import annotations

import pytest
from omendb_core.model.types import Definition
from omendb_core.scan.choice import choose

from omendb_ws.node import sizing
from tests.cli.here import run
from tests.project.pages import page

#: The command of the page, and of its lines those that are the same everywhere.
OF_THE_PAGE = (
    "size", "--rows", "1000000", "--dim", "384", "--metadata-bytes", "200",
    "--subscriptions", "1000",
)  # fmt: skip


def test_memory_and_disk_are_said_without_measuring() -> None:
    done = run("size", "--rows", 1000, "--dim", 8, "--seconds", 0, "--json")
    wanted = sizing.Wanted(Definition(dim=8, capacity=1000, ids="u64"))
    memory = sizing.memory(wanted, choose())
    assert done.code == 0
    assert done.document == {
        "memory_bytes": {**memory._asdict(), "counted": memory.counted},
        "disk_bytes": sizing.disk(wanted)._asdict(),
        "rates": None,
    }


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
@pytest.mark.parametrize("subscriptions", [0, 5])
def test_rates_are_measured(ids: str, subscriptions: int) -> None:
    done = run(
        "size", "--rows", 700, "--dim", 8, "--metadata-bytes", 40, "--seconds", 0.01,
        "--ids", ids, "--subscriptions", subscriptions, "--json",
    )  # fmt: skip
    rates = done.document["rates"]
    # One batch is measured at least, and the window is not larger than it would be.
    assert 500 <= rates["rows_measured"] <= 700
    assert min(rates.values()) > 0
    fewer = rates["adds_with_subscriptions_per_second"] < rates["adds_per_second"]
    assert fewer == bool(subscriptions)


@pytest.mark.parametrize(
    "larger", [("--dim", 9000), ("--dim", 8, "-k", 1001), ("--dim", 1, "--rows", 10_000_001)]
)
def test_what_a_server_takes_with_other_limits_is_measured(larger: tuple[str | int, ...]) -> None:
    done = run("size", "--rows", 40, "--seconds", 0.001, "--subscriptions", 1, *larger, "--json")
    assert (done.code, done.err) == (0, "")
    assert min(done.document["rates"].values()) > 0


@pytest.mark.parametrize(
    ("larger", "named"), [(("-k", 1 << 40), "k: "), (("--metadata-bytes", 5000), "metadata: ")]
)
def test_what_no_server_takes_is_said_in_a_line(larger: tuple[str | int, ...], named: str) -> None:
    done = run("size", "--rows", 10, "--dim", 8, "--seconds", 0.001, *larger)
    assert (done.code, done.err.count("\n"), named in done.err) == (2, 1, True), done.err


def test_the_page_shows_what_it_says() -> None:
    done = run(*OF_THE_PAGE, "--seconds", 0)
    text = page("docs/how-to/memory.md")
    assert f"omendb-ws {' '.join(OF_THE_PAGE)}\n" in text
    assert done.out in text


@pytest.mark.parametrize(
    "arguments",
    [("--rows", "0", "--dim", "8"), ("--rows", "10"), ("--rows", "10", "--dim", "8", "-k", "0")],
)
def test_what_is_no_size_is_refused(arguments: tuple[str, ...]) -> None:
    done = run("size", *arguments)
    assert (done.code, done.out) == (2, "")
