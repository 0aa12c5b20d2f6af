"""Reads a Containerfile: its stages, and the instructions of each, in order."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

#: What is understood; another word is an error.
KNOWN = {
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
    "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


@dataclass
class Stage:
    """One ``FROM`` and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, word: str) -> str:
        """What the last ``word`` says."""
        return [text for found, text in self.steps if found == word][-1]

    def command(self, word: str) -> list[str]:
        """``ENTRYPOINT``, ``CMD`` or ``HEALTHCHECK``, which are JSON arrays here."""
        return [str(one) for one in json.loads(re.sub(r"^.*?(?=\[)", "", self.last(word)))]

    def environment(self) -> dict[str, str]:
        """All of ``ENV``."""
        pairs = [shlex.split(text) for word, text in self.steps if word == "ENV"]
        return dict(one.split("=", 1) for pair in pairs for one in pair)


def read(path: Path) -> list[Stage]:
    """The stages of the file."""
    kept = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(kept).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        assert word in KNOWN, word
        if word == "FROM":
            base, _, name = rest.strip().partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].steps.append((word, " ".join(rest.split())))
    return stages
