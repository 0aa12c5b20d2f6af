"""Making a damaged log usable again, by giving up a part of it; and saying which, before.

Two parts can be kept: the *front*, up to the damage, or the *back*, from the first segment behind
it that is whole to the end (its opening is a checkpoint; rows before it are lost). The one that
holds more of the window is kept. Nothing is deleted: files that are given up stay beside the log as
``*.log.damaged``, and a damaged file of which the front is kept stays as it is.

The repair is one new segment, which names what comes before it: it is done once that is on the
disk, and not before. It begins a new epoch, since rows are lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from omendb_core.model.errors import Unavailable
from omendb_core.model.types import WindowLimits

from ..interface import Damaged, Manifest
from .appender import Appender
from .failures import storage_error
from .files import Files
from .inspecting import Stretch, inspect
from .plans import Plan
from .recovery import Chain, Opened, Reader, opened_segment, read_note_of
from .reopening import end_of, new_epoch
from .segments import Segment, segments_in, set_aside


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair would do.

    Kept: the window at ``version``, with its rows of ``first_kept_seq … last_seq``. Lost: rows of
    ``lost_seqs`` (ranges; first and last) as far as they were live, and the changes of the part
    that is given up: ``lost`` is what can still be counted of it, ``lost_bytes`` all that stands
    there. ``set_aside`` are the files that go beside the log.
    """

    directory: str
    damage: Damaged
    manifest: Manifest
    version: int
    first_kept_seq: int
    last_seq: int
    lost_seqs: tuple[tuple[int, int], ...]
    lost: Stretch
    lost_bytes: int
    set_aside: tuple[Segment, ...]
    #: How the new segment continues the log; private to ``apply_repair``.
    part: Part


class Part:
    """A part of a log that can be read by itself, to its end."""

    def __init__(
        self, files: Files, directory: str, chain: Chain, end: int | None, limits: WindowLimits
    ) -> None:
        self.reader = Reader(files, directory, limits, part=chain, part_end=end)
        for _ in self.reader.changes():
            pass

    @property
    def first_kept_seq(self) -> int:
        """The first seq from which on the part holds all rows of its window."""
        return self.reader.covered_from()

    @property
    def seqs(self) -> int:
        """How many seqs of its window the part holds."""
        return max(0, self.reader.tracker.last_seq - self.first_kept_seq + 1)


def plan_repair(files: Files, directory: str, limits: WindowLimits) -> Repair | None:
    """What a repair would do; None if nothing is damaged.

    Raises Unavailable if there is nothing that could be kept.
    """
    report = inspect(files, directory, limits)
    if report.damage is None:
        return None
    runs = _runs(files, [one.segment for one in report.segments])
    parts = [part for run in runs for part in _parts_of(files, directory, limits, run)]
    if not parts:
        raise Unavailable(f"nothing of this log can be kept: {report.damage}")
    part = max(parts, key=lambda one: (one.seqs, one.reader.tracker.version))
    reader = part.reader
    kept = {one.segment for one in reader.chain.opened}
    lost, lost_bytes = Stretch(), 0
    for one in report.segments:
        end = one.end + one.bytes_behind
        if one.segment not in kept:
            lost.include(one.held)
            lost.include(one.behind)
            lost_bytes += end
        elif one.segment == reader.chain.last.segment:
            lost.include(one.behind)
            lost_bytes += end - reader.end
    return Repair(
        directory,
        report.damage,
        reader.manifest,
        reader.tracker.version,
        part.first_kept_seq,
        reader.tracker.last_seq,
        _lost_seqs(part, lost),
        lost,
        lost_bytes,
        tuple(one.segment for one in report.segments if one.segment not in kept),
        part,
    )


def _lost_seqs(part: Part, lost: Stretch) -> tuple[tuple[int, int], ...]:
    tracker = part.reader.tracker
    before = (tracker.first_seq, part.first_kept_seq - 1)
    behind = (tracker.last_seq + 1, lost.seqs[1])
    return tuple((first, last) for first, last in (before, behind) if first <= last)


def apply_repair(
    files: Files,
    repair: Repair,
    boot_id: str,
    segment_bytes: int,
    seconds: Callable[[], float],
) -> Manifest:
    """Do what was planned; the manifest of the repaired log, with its new epoch.

    The log must not have changed since. Raises StorageFull or StorageFailed; then the log is as
    damaged as before, or repaired with files still to be set aside, and it can be repeated.
    """
    reader = repair.part.reader
    manifest = replace(repair.manifest, epoch=new_epoch())
    numbers = [one.number for one in segments_in(files, repair.directory)]
    note = read_note_of(files, repair.directory)
    if note is not None:
        numbers.append(note.number)  # of a segment that is not there any more, perhaps
    plan = Plan(
        manifest,
        boot_id,
        segment_bytes,
        number=max(numbers) + 1,
        previous=end_of(reader),
        moment=(0, 0) if note is None else (note.time_us, note.wall_us),
        missing_to=max(reader.missing_to, repair.first_kept_seq - 1),
    )
    appender = Appender(files, repair.directory, plan, reader.tracker, seconds)
    try:
        for segment in repair.set_aside:
            set_aside(files, segment)
        files.sync_directory(repair.directory)
    except OSError as error:
        appender.abandon()
        raise storage_error("set aside a part of", error) from error
    appender.close()
    return manifest


def _runs(files: Files, segments: list[Segment]) -> list[list[Opened]]:
    """The segments with valid openings, those together that follow each other."""
    runs: list[list[Opened]] = []
    for segment in segments:
        try:
            one = opened_segment(files, segment)
        except Damaged:
            continue
        if one is None:
            continue
        previous = one.opening.previous
        if runs and previous is not None and runs[-1][-1].segment.number == previous[0]:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _parts_of(files: Files, directory: str, limits: WindowLimits, run: list[Opened]) -> list[Part]:
    """What can be read of segments that follow each other: all, or parts around the damage."""
    try:
        return [Part(files, directory, Chain(tuple(run), ()), None, limits)]
    except Damaged as damage:
        bad = next(place for place, one in enumerate(run) if one.segment.path == damage.file)
        front = Chain(tuple(run[: bad + 1]), ())
        parts = [Part(files, directory, front, damage.offset, limits)]
        if behind := run[bad + 1 :]:
            parts += _parts_of(files, directory, limits, behind)
        return parts
