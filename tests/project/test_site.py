"""The hook of the site: every link of a page leads to the same file there as in the repository."""

from __future__ import annotations

import pytest

from docs.tools.site import linked_files, rewritten, site_uri
from tests.project.pages import page


@pytest.mark.parametrize(
    ("uri", "link", "there"),
    [
        ("index.md", "../PROTOCOL.md", "PROTOCOL.md"),
        ("how-to/search.md", "../../PROTOCOL.md", "../PROTOCOL.md"),
        ("how-to/search.md", "../operations.md#durability", "../operations.md#durability"),
        ("how-to/search.md", "keys.md", "keys.md"),
        ("how-to/browser.md", "../draw-a-digit.png", "../draw-a-digit.png"),
        ("how-to/browser.md", "../../README.md", "../index.md"),
        ("benchmarks.md", "../load_tests/locustfile.py", "source/load_tests/locustfile.py"),
        ("how-to/x.md", "../../examples/a/README.md", "../source/examples/a/README.md.txt"),
        ("DESIGN.md", "docs/journal.md", "journal.md"),
        ("CONTRIBUTING.md", "DESIGN.md", "DESIGN.md"),
        ("CHANGELOG.md", "https://semver.org", "https://semver.org"),
        ("tutorial.md", "#4-search", "#4-search"),
    ],
)
def test_a_link_is_rewritten(uri: str, link: str, there: str) -> None:
    assert rewritten(f"see [it]({link}), then", uri) == f"see [it]({there}), then"


def test_code_is_left_as_it_is() -> None:
    text = "```js\nrows[0](../PROTOCOL.md)\n```\n"
    assert rewritten(text, "index.md") == text


def test_what_lies_outside_of_the_pages_is_copied() -> None:
    text = "[a](../load_tests/locustfile.py) [b](../PROTOCOL.md) [c](tutorial.md)"
    assert linked_files(text, "index.md") == {"load_tests/locustfile.py"}
    assert site_uri("load_tests/locustfile.py") == "source/load_tests/locustfile.py"


def test_the_site_asks_no_other_host() -> None:
    told = page("mkdocs.yml")
    assert "font: false" in told
    assert "extra_javascript" not in told
    assert "mermaid" not in told
