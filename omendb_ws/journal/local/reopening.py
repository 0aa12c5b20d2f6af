"""Opening a log for writing once it is read: cutting its torn end, deciding its epoch.

The last segment is not written to again; a new one is begun. Whatever of the last is not known to
be on the disk is written once more and flushed before anything is built on it: the process before
may have ended after a failed flush, and then the kernel's memory says more than the disk holds.

**The epoch** changes if something that was visible may be lost: the stop was not clean, the machine
has been started again since (or nobody can tell), and the durability is not ``always``; or the note
is gone, or altered, that would tell of a missing end.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from ..interface import Manifest
from .appender import Appender
from .failures import storage_error
from .files import Files, read_all, sync_all, write_all
from .inspecting import segment_of
from .notes import NAME as NOTE
from .openings import Previous
from .plans import Plan
from .recovery import Chain, Reader
from .segments import discard, segments_in, set_aside


def new_epoch() -> str:
    """A name for an epoch that no other has."""
    return secrets.token_hex(8)


def doubt_of(reader: Reader, boot_id: str) -> str | None:
    """Why something may be missing of a log that was read to its end; None if nothing may.

    See the module.
    """
    if not reader.is_proven:
        return (
            f"its {NOTE} is missing, or not what was written, so that nothing tells whether the"
            " log's end is there"
        )
    same_boot = bool(boot_id) and boot_id == reader.chain.last.opening.boot_id
    if not reader.is_clean and not same_boot and reader.manifest.durability != "always":
        return (
            "the machine may have been started again since it was written, and what was not"
            " flushed by then may be missing"
        )
    return None


def manifest_after(reader: Reader, boot_id: str) -> Manifest:
    """The manifest of a log that was read to its end, in the epoch in which it goes on."""
    if doubt_of(reader, boot_id) is not None:
        return replace(reader.manifest, epoch=new_epoch())
    return reader.manifest


def reopen(
    files: Files,
    directory: str,
    reader: Reader,
    manifest: Manifest,
    boot_id: str,
    segment_bytes: int,
    seconds: Callable[[], float],
    wall_us: int,
) -> Appender:
    """An appender for ``manifest`` behind what was read, whose end is settled.

    ``wall_us`` is the machine's clock now. Raises StorageFull or StorageFailed.
    """
    chain, last = reader.chain, reader.chain.last
    # A segment without changes is replaced: a server that keeps crashing leaves no row of them.
    older = chain.opened if reader.has_changes else chain.opened[:-1]
    numbers = _numbers(files, directory)
    sizes = [after.opening.previous for after in chain.opened[1:]]
    plan = Plan(
        manifest,
        boot_id,
        segment_bytes,
        number=max(numbers) + 1,
        previous=end_of(reader) if reader.has_changes else last.opening.previous,
        missing_to=reader.missing_to,
        moment=(reader.time_us(wall_us), wall_us),
        older=[
            (one.segment, one.opening.checkpoint.last_seq, size[1] if size else reader.end)
            for one, size in zip(older, [*sizes, None], strict=False)
        ],
    )
    appender = Appender(files, directory, plan, reader.tracker, seconds)
    _clear_strays(files, chain)
    if not reader.has_changes:
        discard(files, last.segment)
    return appender


def _numbers(files: Files, directory: str) -> list[int]:
    """Of all segments, of those too that an attempt before this one has left behind."""
    try:
        return [one.number for one in segments_in(files, directory)]
    except OSError as error:
        raise storage_error("reopen", error) from error


def end_of(reader: Reader) -> Previous:
    """Where the segment that comes next begins."""
    last = reader.chain.last.segment
    return Previous(last.number, reader.end, last.seed)


def settle_end(files: Files, reader: Reader) -> None:
    """Cut the last segment at its end, and have the rest of it on the disk.

    Before that what was read may not be there after a power loss, and is not to be shown. Nothing
    needs to be done after a clean stop. Raises StorageFull or StorageFailed.
    """
    segment = reader.chain.last.segment
    start = reader.proven_to
    if start == reader.end and reader.torn is None:
        return
    try:
        fd = files.open(segment.path, write=True)
        try:
            unproven = read_all(files, fd, reader.end - start, start)
            write_all(files, fd, [unproven], start)
            sync_all(files, fd)  # a file shorter than it was made holds whole records
            files.truncate(fd, reader.end)
        finally:
            files.close(fd)
    except OSError as error:
        raise storage_error("cut the end of", error) from error


def _clear_strays(files: Files, chain: Chain) -> None:
    """Take away what was being made or dropped; keep what a repair gave up, beside the log."""
    first = chain.opened[0].segment.number
    for segment in chain.strays:
        report = segment_of(files, segment)
        holds_something = report.problem or report.held.rows or report.held.changes
        if segment.number < first or not holds_something:
            discard(files, segment)
            continue
        try:
            set_aside(files, segment)
        except OSError:
            continue  # it is passed over, and tried again at the next start
