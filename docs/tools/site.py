"""A hook of MkDocs: pages and files that lie outside of docs/ are on the site as well.

In the repository a page links to its neighbours by where they lie, so that it can be read there:
``../PROTOCOL.md``, ``../../examples/…``. Here the pages of the root become pages of the site, other
files that are linked to are copied as they are to ``source/``, and links follow. Nothing is written
into docs/.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = "docs"
#: Pages of the root that are pages of the site.
ROOT_PAGES: Final = ("PROTOCOL.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md")
#: Where README leads on the site.
HOME: Final = "index.md"
#: Other files are copied to here.
SOURCE: Final = "source"

_LINK: Final = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_FENCED: Final = re.compile(r"^```.*?^```$", re.M | re.S)
#: ``f32[n][dim]``: no link, though it looks like one.
_SHAPE: Final = re.compile(r"(?<=[\d ])\[(\w+)\]\[(\w+)\](?!`)")


def place_of(link: str, page: str) -> str:
    """The file that ``link`` on ``page`` names, both as paths in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def site_uri(file: str) -> str:
    """Where a file of the repository is on the site."""
    if file.startswith(f"{DOCS}/"):
        return file.removeprefix(f"{DOCS}/")
    if file in ROOT_PAGES:
        return file
    if file == "README.md":
        return HOME
    # What is copied is read as it is; Markdown would be made a page.
    return f"{SOURCE}/{file}{'.txt' if file.endswith('.md') else ''}"


def in_repository(uri: str) -> str:
    """The other way: where a page of the site is in the repository."""
    return uri if uri in ROOT_PAGES else f"{DOCS}/{uri}"


def rewritten(text: str, uri: str) -> str:
    """A page's Markdown with its links as they have to be on the site."""
    page = in_repository(uri)

    def moved(found: re.Match[str]) -> str:
        target = site_uri(place_of(found[1], page))
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    parts, at = [], 0
    for fence in _FENCED.finditer(text):
        parts += [_LINK.sub(moved, text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, _LINK.sub(moved, text[at:])])


def linked_files(text: str, uri: str) -> set[str]:
    """The files outside of docs/ that a page links to, as paths in the repository."""
    page = in_repository(uri)
    found = {place_of(link, page) for link in _LINK.findall(_FENCED.sub("", text))}
    return {file for file in found if site_uri(file).startswith(f"{SOURCE}/")}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and what any page links to."""
    from mkdocs.structure.files import File

    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    wanted: set[str] = set()
    for file in files.documentation_pages():
        wanted |= linked_files(file.content_string, file.src_uri)
    for name in sorted(wanted):
        if not (ROOT / name).is_file():
            raise SystemExit(f"a page links to {name}, which is no file")
        uri = site_uri(name)
        files.append(File.generated(config, uri, content=(ROOT / name).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they have to be on the site."""
    return _SHAPE.sub(r"[\1]\\[\2]", rewritten(markdown, page.file.src_uri))
