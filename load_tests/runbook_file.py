"""Runbooks as the streaming track of the NeurIPS'23 big-ann-benchmarks writes them: read and made.

A YAML file: the name of a data set → its steps by number from 1 on, and perhaps ``max_pts``, the
most points that are alive at once. A step's ``operation`` is ``insert`` or ``delete`` (of the
points ``start`` up to but not including ``end``), ``search`` (of all queries), or ``replace``
(points ``ids_start … ids_end`` take the place of the tags ``tags_start … tags_end``). A point's
number in the data set is its tag when it is inserted. Other keys (``gt_url``) are passed over.

What reads is strict: a mistake in a file would otherwise pass for a mistake of the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

import numpy as np
import yaml

Operation: TypeAlias = Literal["insert", "delete", "search", "replace"]

#: What each operation is given, besides its name.
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "insert": ("start", "end"),
    "delete": ("start", "end"),
    "search": (),
    "replace": ("tags_start", "tags_end", "ids_start", "ids_end"),
}


class BadRunbook(ValueError):
    """A file that is no runbook; the message names file, line and step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``tags`` are what a server has as ids, ``points`` the vectors they get.

    Both are half-open ranges. ``points`` is that of ``tags`` in an insert, and empty in a delete;
    a search has neither.
    """

    number: int
    operation: Operation
    tags: range = range(0)
    points: range = range(0)


@dataclass(frozen=True, slots=True)
class Runbook:
    """The steps for one data set; see the module."""

    dataset: str
    steps: tuple[Step, ...]
    max_points: int

    @property
    def points(self) -> int:
        """How many vectors the data set must have at least."""
        return max((step.points.stop for step in self.steps), default=0)

    @property
    def capacity(self) -> int:
        """The smallest window that holds every live point: its rows count, deleted or not."""
        last_seq, most = 0, 1
        tags = max(step.tags.stop for step in self.steps)
        seqs = np.zeros(tags, np.int64)
        for step in self.steps:
            if step.operation == "delete":
                seqs[step.tags] = 0
            elif step.operation != "search":
                count = len(step.tags)
                seqs[step.tags] = np.arange(last_seq + 1, last_seq + count + 1)
                last_seq += count
                most = max(most, last_seq - int(seqs[seqs > 0].min()) + 1)
        return most


def sliding_window(dataset: str, points: int, parts: int = 200) -> Runbook:
    """The track's sliding-window runbook, over ``points`` points in ``parts`` equal parts.

    The first half is inserted part by part; then each round searches, deletes the oldest part and
    inserts the next. (The original: 10,000,000 points in 200 parts, thus 400 steps.)
    """
    if parts < 2 or parts % 2 or points < parts:
        raise ValueError(f"{points} points do not lie in {parts} parts: an even number of them")
    bounds = [points * part // parts for part in range(parts + 1)]
    half = parts // 2

    def spread(part: int) -> range:
        return range(bounds[part], bounds[part + 1])

    planned: list[tuple[Operation, range]] = [("insert", spread(part)) for part in range(half)]
    for part in range(half):
        planned += [
            ("search", range(0)), ("delete", spread(part)), ("insert", spread(half + part))
        ]  # fmt: skip
    return _numbered(dataset, planned)


def clustered(
    dataset: str, points: int, clusters: int = 64, rounds: int = 5, seed: int = 1
) -> Runbook:
    """A runbook of the shape of the track's last one, over ``points`` points in ``clusters``.

    Points of a cluster have consecutive numbers. Each round inserts the next part of each cluster,
    then deletes some of the oldest of each, 0 to 90% of those alive; a search follows every step.
    (The original: 30,000,000 points of 64 clusters in 5 rounds, thus 1,280 steps, of which at most
    10,292,043 points are alive.) Sizes of clusters and shares are drawn: ``seed``.
    """
    if points < 2 * clusters * rounds or min(clusters, rounds) < 1:
        raise ValueError(f"{points} points are too few for {clusters} clusters in {rounds} rounds")
    chance = np.random.default_rng(seed)
    least = 2 * rounds
    extra = chance.dirichlet(np.ones(clusters)) * (points - clusters * least)
    bounds = [0, *(np.cumsum(extra).astype(np.int64) + least * np.arange(1, clusters + 1)).tolist()]
    bounds[-1] = points
    deleted = bounds[:-1]
    planned: list[tuple[Operation, range]] = []
    for turn in range(1, rounds + 1):
        begins, ends = (
            [first + (stop - first) * part // rounds for first, stop in pairwise(bounds)]
            for part in (turn - 1, turn)
        )
        for begin, end in zip(begins, ends, strict=True):
            planned += [("insert", range(begin, end)), ("search", range(0))]
        for cluster, end in enumerate(ends):
            first = deleted[cluster]
            last = first + max(1, int(chance.uniform(0, 0.9) * (end - first)))
            planned += [("delete", range(first, last)), ("search", range(0))]
            deleted[cluster] = last
    return _numbered(dataset, planned)


def _numbered(dataset: str, planned: list[tuple[Operation, range]]) -> Runbook:
    steps = tuple(
        Step(number, operation, tags, tags if operation == "insert" else range(0))
        for number, (operation, tags) in enumerate(planned, 1)
    )
    return Runbook(dataset, steps, most_alive(steps))


def most_alive(steps: tuple[Step, ...]) -> int:
    """The most points that are alive at once."""
    alive = most = 0
    for step in steps:
        alive += {"insert": len(step.tags), "delete": -len(step.tags)}.get(step.operation, 0)
        most = max(most, alive)
    return most


def write(runbook: Runbook, path: Path) -> None:
    """Write a runbook in the track's form."""
    body: dict[int | str, object] = {step.number: _document(step) for step in runbook.steps}
    body["max_pts"] = runbook.max_points
    path.write_text(
        yaml.safe_dump({runbook.dataset: body}, sort_keys=False, default_flow_style=False), "utf-8"
    )


def _document(step: Step) -> dict[str, str | int]:
    document: dict[str, str | int] = {"operation": step.operation}
    if step.operation == "replace":
        document |= {"tags_start": step.tags.start, "tags_end": step.tags.stop}
        document |= {"ids_start": step.points.start, "ids_end": step.points.stop}
    elif step.operation != "search":
        document |= {"start": step.tags.start, "end": step.tags.stop}
    return document


# -- reading ----------------------------------------------------------------------------------


def read(path: Path, dataset: str | None = None) -> Runbook:
    """Read the runbook of ``dataset``, or of the only one in the file. BadRunbook if it is none."""
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRunbook(f"{path}: not YAML: {error}") from None
    if root is None:
        raise BadRunbook(f"{path}: empty")
    reader = _Reader(path)
    datasets = reader.mapping(root, "the file")
    if dataset is None and len(datasets) != 1:
        raise BadRunbook(f"{path} is for {', '.join(datasets)}: name one of them")
    name = next(iter(datasets)) if dataset is None else dataset
    if name not in datasets:
        raise BadRunbook(f"{path} has nothing for {name!r}; it is for {', '.join(datasets)}")
    return reader.runbook(name, datasets[name])


class _Reader:
    """Turns YAML nodes, which know their lines, into steps."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refuse(self, node: yaml.Node, what: str) -> BadRunbook:
        return BadRunbook(f"{self._path}, line {node.start_mark.line + 1}: {what}")

    def mapping(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse(node, f"{what} must be a mapping")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.refuse(key, f"a key of {what} must be a name or a number")
            if key.value in found:
                raise self.refuse(key, f"{what} has {key.value} twice")
            found[key.value] = value
        return found

    def number(self, node: yaml.Node, what: str) -> int:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:int":
            raise self.refuse(node, f"{what} must be an integer")
        number = cast("int", yaml.safe_load(node.value))
        if number < 0:
            raise self.refuse(node, f"{what} must not be negative")
        return number

    def runbook(self, name: str, node: yaml.Node) -> Runbook:
        body = self.mapping(node, name)
        numbered = {int(key): value for key, value in body.items() if key.isdecimal()}
        if sorted(numbered) != list(range(1, len(numbered) + 1)) or not numbered:
            raise self.refuse(node, f"the steps of {name} must be numbered 1, 2, 3 …")
        steps = tuple(self.step(number, numbered[number]) for number in sorted(numbered))
        self.check(steps, numbered)
        most = most_alive(steps)
        if "max_pts" in body:
            told = self.number(body["max_pts"], "max_pts")
            if told < most:
                raise self.refuse(body["max_pts"], f"max_pts is {told}, but {most} points live")
            most = told
        return Runbook(name, steps, most)

    def step(self, number: int, node: yaml.Node) -> Step:
        what = f"step {number}"
        body = self.mapping(node, what)
        operation = body.pop("operation", None)
        if operation is None:
            raise self.refuse(node, f"{what} has no operation")
        if operation.value not in FIELDS:
            known = ", ".join(FIELDS)
            raise self.refuse(operation, f"the operation of {what} must be one of {known}")
        fields = FIELDS[operation.value]
        for name in fields:
            if name not in body:
                raise self.refuse(node, f"{what} ({operation.value}) has no {name}")
        for name in body:
            if name not in fields:
                raise self.refuse(body[name], f"{what} ({operation.value}) does not take {name}")
        bounds = [self.number(body[name], f"{name} of {what}") for name in fields]
        tags = range(*bounds[:2]) if bounds else range(0)
        points = range(*bounds[2:]) if len(bounds) == 4 else range(0)
        if bounds and not tags:
            raise self.refuse(node, f"{what}: the end must lie after the start")
        if operation.value == "replace" and len(points) != len(tags):
            raise self.refuse(node, f"{what}: as many ids as tags are needed")
        if operation.value == "insert":
            points = tags
        return Step(number, operation.value, tags, points)

    def check(self, steps: tuple[Step, ...], nodes: dict[int, yaml.Node]) -> None:
        """What is inserted must not live, what is deleted or replaced must."""
        alive = np.zeros(max(step.tags.stop for step in steps), bool)
        for step in steps:
            here = alive[step.tags.start : step.tags.stop]
            wrong = here if step.operation == "insert" else ~here
            if wrong.any():
                tag = step.tags.start + int(wrong.argmax())
                state = "already there" if step.operation == "insert" else "not there"
                raise self.refuse(
                    nodes[step.number],
                    f"step {step.number} ({step.operation}): point {tag} is {state}",
                )
            here[:] = step.operation != "delete"
