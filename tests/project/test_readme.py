"""README.md is short, and its example is the one in examples/.

Its commands are run by ``test_page_commands.py``, its examples by ``test_page_examples.py``, its
links followed by ``test_page_links.py``.
"""

from __future__ import annotations

from tests.project.pages import blocks, page

#: README is what a newcomer reads whole. What is more belongs in docs/.
MAX_WORDS = 1300


def test_it_can_be_read_at_one_sitting() -> None:
    assert len(page("README.md").split()) <= MAX_WORDS


def test_the_quickstart_is_the_example() -> None:
    python = [block.text for block in blocks(page("README.md")) if block.language == "python"]
    example, end = page("examples/quickstart.py").split("\ntry:\n    ")
    assert f"{example}\n{end.splitlines(keepends=True)[0]}" in python


def test_its_figures_stand_among_the_benchmarks() -> None:
    """A figure that is measured anew is changed in both places."""
    told = page("README.md").split("## How fast")[1].split("\n## ")[0]
    rows = [line for line in told.splitlines() if line.startswith("| ") and "| what" not in line]
    benchmarks = page("docs/benchmarks.md")
    assert len(rows) >= 5
    for row in rows:
        numbers = [
            word.strip(":;,")
            for word in row.split("|")[2].split()
            if word.strip(":;,").replace(",", "").replace(".", "").isdigit()
        ]
        assert numbers, row
        for number in numbers:
            assert number in benchmarks, (number, row)
