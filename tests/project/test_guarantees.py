"""What the page of clusters promises: each promise names tests, and these are there."""

from __future__ import annotations

import re

from tests.project.pages import ROOT, page, section, tables

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises() -> list[list[str]]:
    """The rows of the table, without its heading."""
    [table, *_] = tables(section(page("docs/how-to/cluster.md"), "## What it promises"))
    return table[1:]


def named_by_number() -> dict[str, list[tuple[str, str]]]:
    text = section(page("docs/how-to/cluster.md"), "## What it promises")
    return {
        number: NAMED.findall(line) for number, line in re.findall(r"^(\d+)\. (.*)$", text, re.M)
    }


def test_each_promise_names_a_test_or_is_that_of_nats() -> None:
    rows, named = promises(), named_by_number()
    assert len(rows) >= 10
    assert {row[-1] for row in rows} - {"NATS"} == named.keys()
    assert all(named.values())


def test_the_tests_that_are_named_are_there() -> None:
    for file, name in [one for named in named_by_number().values() for one in named]:
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.M), f"{file} has no {name}"
