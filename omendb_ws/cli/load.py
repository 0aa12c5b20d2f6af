"""``omendb-ws load``: a file of vectors into a collection."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from . import definitions, reaching
from . import load_options as options
from .failure import FAILED, INTERRUPTED, WRONG, fail, failing, interruptible, say
from .output import print_json

if TYPE_CHECKING:
    from ..client import Client
    from ..files.chunks import Reader
    from ..transfer.cutting import Plan
    from ..transfer.loading import Load, Progress
    from ..transfer.target import Target

#: What --ids-from calls the numbers of the rows.
ROWS: Final = "rows"
#: Fields that are named where there may be hundreds.
_NAMED_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the flags say, beside the file and the server."""

    collection: str
    create: bool
    definition: dict[str, Any]
    producer: str | None
    again: bool
    skip_bad: bool
    rate: float | None
    batch_rows: int | None
    unless_near: float | None
    reading: dict[str, Any]
    #: The files it reads; none where it reads a pipe.
    paths: list[str]


def load(
    file: options.File,
    collection: reaching.CollectionFlag,
    format: options.Format = None,
    ids_from: options.IdsFrom = None,
    id_field: options.IdField = "id",
    vector_field: options.VectorField = "vector",
    fields: options.FieldNames = None,
    times: options.Times = "text",
    create: options.Create = False,
    dim: options.Dim = None,
    capacity: options.Capacity = None,
    metric: definitions.Metric = None,
    ids: definitions.Ids = None,
    columns: definitions.Columns = None,
    ttl: definitions.Ttl = None,
    durability: definitions.Durability = None,
    replicas: definitions.Replicas = None,
    shards: definitions.Shards = None,
    rate: options.Rate = None,
    batch_rows: options.BatchRows = None,
    skip_bad: options.SkipBad = False,
    unless_near: options.UnlessNear = None,
    producer: options.Producer = None,
    again: options.Again = False,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Load a file of vectors into a collection.

    Formats: .npy (n, dim) of real numbers; .fvecs, .bvecs; .jsonl, a row a line:
    {"id": 17, "vector": [0.5, 1], "metadata": {"price": 9.5}}; .parquet and .arrow with fields id
    and vector (pip install 'omendb-ws[arrow]'). Every other field is metadata.

    Ctrl-C ends it, and says what was acknowledged. The same command goes on from there, and adds
    no row twice: the server knows the batches of this file. (Another file, or other flags, begin
    anew. From standard input only --producer makes it so.)

    \b
    Examples:
      omendb-ws load vectors.npy -c items --create
      omendb-ws load rows.jsonl -c shop --create --capacity 10000 --columns price:f64,kind:str
      omendb-ws load stream.npy -c items --rate 500
      omendb-ws load pages.npy -c pages --create --unless-near 0.97
      generate | omendb-ws load - --format jsonl -c items --skip-bad
    """
    definition = definitions.given(
        dim=dim, capacity=capacity, metric=metric, ids=ids, columns=columns, ttl=ttl,
        durability=durability, replicas=replicas, shards=shards,
    )  # fmt: skip
    if definition and not create:
        fail(WRONG, f"--{next(iter(definition))}: goes with --create")
    known_times = options.checked_times(times)
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    asked_of_file = _Reading(format, ids_from, id_field, vector_field, fields, known_times)
    reader, reading, paths = _opened(file, asked_of_file)
    near = {} if unless_near is None else {"unless_near": unless_near}
    asked = _Asked(
        collection, create, definition, producer, again, skip_bad, rate, batch_rows, unless_near,
        {**reading, "skip_bad": skip_bad, **near}, paths,
    )  # fmt: skip
    try:
        ended = reaching.reach(at, lambda db: _load(db, reader, asked), reconnect=True)
    finally:
        if paths:  # closing a pipe would wait for the thread that reads it
            reader.close()
    _report(ended, reader, asked, as_json)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the flags say of the file."""

    format: str | None
    ids_from: str | None
    id_field: str
    vector_field: str
    fields: str | None
    times: Literal["text", "seconds"]


def _opened(file: str, asked: _Reading) -> tuple[Reader, dict[str, Any], list[str]]:
    """A reader of ``file``, how it is read, and the files that it reads: none of a pipe."""
    from ..files.chunks import FileError
    from ..files.fields import Fields
    from ..files.formats import STANDARD, WITHOUT_FIELDS, format_of, open_reader

    with failing(FileError), interruptible():  # opening a pipe waits for what it brings
        kind = format_of(file, asked.format)
        numbered = asked.ids_from == ROWS and kind not in WITHOUT_FIELDS
        ids_path = None if asked.ids_from in (None, ROWS) else asked.ids_from
        kept = None if asked.fields is None else tuple(filter(None, asked.fields.split(",")))
        named = Fields(asked.id_field, asked.vector_field, kept, numbered, asked.times)
        reader = open_reader(file, kind, named, ids_path)
    is_file = file != STANDARD and os.path.isfile(file)
    paths = [path for path in (file, ids_path) if path is not None] if is_file else []
    return reader, {**asdict(asked), "format": kind}, paths


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a load ended. ``why``: what went wrong, with its exit code."""

    progress: Progress
    why: str | None
    code: int
    #: The file is what is wrong: the same command would end there again.
    is_row: bool


async def _load(db: Client, reader: Reader, asked: _Asked) -> _Ended:
    """Run the load; what goes wrong once rows may be in is returned, with what is in."""
    from ..errors import OmenError, OutOfOrder
    from ..files.chunks import CutShort, FileError
    from ..transfer.loading import Load, Options, RowRefused, plan_of
    from .progress import shown

    target, create = await _target(db, reader, asked)
    if target.ids == "auto" and reader.holds_ids:
        say(f"{asked.collection} numbers its rows itself; the ids of {reader.name} are unused")
    plan = await plan_of(db, target, asked.batch_rows, asked.rate)
    producer, is_new = _producer(asked, target, plan)
    options = Options(producer, plan, asked.skip_bad, asked.rate, is_new, asked.unless_near)
    load = Load(db, reader, target, options, create=create, reads_ahead=not asked.paths)
    why, code, is_row = None, 0, False
    try:
        with shown(asked.collection) as bar, _Signals(load) as signals:
            await load.run(lambda now: bar.update(now.rows, now.share))
        if signals.count:
            why, code = "interrupted", INTERRUPTED
    except asyncio.CancelledError:
        why, code = "interrupted", INTERRUPTED
    except (FileError, RowRefused) as error:
        is_row = isinstance(error, RowRefused)
        why, code = str(error), FAILED if is_row or isinstance(error, CutShort) else WRONG
    except OutOfOrder:
        why, code = "the server does not know this load any more; run it again", FAILED
    except (OmenError, TimeoutError) as error:
        why, code = reaching.said(error), reaching.exit_code(error)
    return _Ended(load.progress, why, code, is_row)


async def _target(
    db: Client, reader: Reader, asked: _Asked
) -> tuple[Target, Callable[[], Awaitable[object]] | None]:
    """The collection, and what makes it if it is to be made; fails where it is another than the
    flags say."""
    from ..errors import NotFound
    from ..transfer.target import NewCollection

    try:
        there = await db.open(asked.collection)
    except NotFound as error:
        if not asked.create:
            fail(FAILED, f"{reaching.said(error)}; --create makes it of the file")
        found = _definition(reader, asked)
        told = {name: found[name] for name in ("dim", "capacity", "metric", "ids", "columns")
                if name in found}  # fmt: skip
        return NewCollection(asked.collection, **told), partial(
            db.create, asked.collection, **found, if_exists="ok"
        )
    for name, value in asked.definition.items():
        if getattr(there, name) != value:
            has = getattr(there, name)
            fail(FAILED, f"{asked.collection} is there already: its {name} is {has}, not {value}")
    return there, None


def _definition(reader: Reader, asked: _Asked) -> dict[str, Any]:
    """What to create: the flags, then what the file tells."""
    from ..files.chunks import FileError
    from ..files.jsonl import count_lines
    from ..transfer.target import columns_of

    rows = reader.rows
    if (
        rows is None
        and asked.paths
        and reader.unit == "line"
        and "capacity" not in asked.definition
    ):
        rows = count_lines(asked.paths[0])
    found: dict[str, Any] = {"dim": reader.dim, "capacity": rows, "ids": reader.ids}
    if "columns" not in asked.definition:
        with failing(FileError):
            columns, others = columns_of(reader)
        found |= {"columns": columns} if columns else {}
        if others:
            _say_no_columns(others)
    found |= asked.definition
    if reader.dim is not None and found["dim"] != reader.dim:
        fail(WRONG, f"--dim {found['dim']}: {reader.name} has {reader.dim} dimensions")
    if not found["dim"]:
        fail(WRONG, f"{reader.name}: has no row that tells how many dimensions; --dim does")
    if not found["capacity"]:
        fail(WRONG, "--create needs --capacity: how many of the newest rows the window keeps")
    return found


def _say_no_columns(names: list[str]) -> None:
    from ..wire.opcodes import MAX_COLUMNS

    some = ", ".join(repr(name) for name in names[:_NAMED_FIELDS])
    more = f" and {len(names) - _NAMED_FIELDS:,} more" if len(names) > _NAMED_FIELDS else ""
    say(
        f"{some}{more}: kept as metadata, which filters cannot use; columns are at most"
        f" {MAX_COLUMNS}, named as collections are"
    )


def _producer(asked: _Asked, target: Target, plan: Plan) -> tuple[str, bool]:
    """The name under which the batches go, the same for the same file and flags; is it new."""
    from ..transfer.naming import producer_name

    if asked.producer is not None:
        return asked.producer, False
    if asked.again or not asked.paths:
        return f"load-{secrets.token_hex(16)}", True
    reading = {**asked.reading, "dim": target.dim, "ids": target.ids}
    return producer_name(asked.paths, reading, plan), False


class _Signals:
    """Ctrl-C and SIGTERM while entered: the first ends the load in order, the second at once."""

    def __init__(self, load: Load) -> None:
        self.count = 0
        self._load = load
        self._task = asyncio.current_task()

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: KeyboardInterrupt
                asyncio.get_running_loop().add_signal_handler(number, self._take)
        return self

    def _take(self) -> None:
        self.count += 1
        if self.count == 1:
            self._load.stop()
        elif self._task is not None:
            self._task.cancel()

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(number)


def _report(ended: _Ended, reader: Reader, asked: _Asked, as_json: bool) -> None:
    """Say what is in, and fail if that is not all."""
    now = ended.progress
    if reader.unused_id is not None:
        first = f"{reader.name}: {reader.unit} {reader.unused_id} has an id"
        say(f"{first}, which is unused, as the first ones have none; --ids u64 or str takes them")
    if as_json:
        print_json(_document(ended, asked))
    elif ended.why is None:
        print(_summary(now, reader, asked))
    if ended.why is None:
        return
    total = now.rows + now.earlier_rows
    is_in = f"{total:,} rows are acknowledged"
    goes_on = asked.producer is not None or (asked.paths and not asked.again)
    on = "; the same command goes on there" if goes_on else ""
    if ended.is_row and asked.producer is None:
        on = "" if asked.skip_bad else "; --skip-bad begins anew, and leaves such rows out"
    fail(ended.code, f"{ended.why}; {is_in}{on if ended.code != WRONG else ''}")


def _summary(now: Progress, reader: Reader, asked: _Asked) -> str:
    seconds = now.seconds
    if now.rows == 0 and now.earlier_rows:
        return (
            f"{asked.collection}: all {now.earlier_rows:,} rows were loaded before;"
            " --again loads them once more"
        )
    said = f"{asked.collection}: {now.rows:,} rows in {seconds:.2f} s"
    if now.rows:
        said += f", {now.rows / max(seconds, 1e-9):,.0f} rows/s"
    if now.earlier_rows:
        said += f"; {now.earlier_rows:,} were loaded before"
    if asked.unless_near is not None:
        many = "some" if now.skipped_rows is None else f"{now.skipped_rows:,}"
        said += f"; {many} of them left out as near others"
    if now.bad_rows:
        named = ", ".join(str(bad.number) for bad in now.bad)
        more = ", …" if now.bad_rows > len(now.bad) else ""
        said += f"; {now.bad_rows:,} left out ({reader.unit} {named}{more})"
    return said


def _document(ended: _Ended, asked: _Asked) -> dict[str, Any]:
    now = ended.progress
    seconds = now.seconds
    return {
        "collection": asked.collection,
        "rows": now.rows,
        "earlier_rows": now.earlier_rows,
        "bad_rows": now.bad_rows,
        **({} if asked.unless_near is None else {"skipped_rows": now.skipped_rows}),
        "bad": [{"number": bad.number, "reason": bad.reason} for bad in now.bad],
        "version": now.version,
        "seconds": round(seconds, 3),
        "rows_per_s": round(now.rows / max(seconds, 1e-9), 1),
        "error": ended.why,
    }
