"""``omendb-ws inspect``: what the files of a data directory hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .directories import (
    DataDir,
    Tenant,
    log_of,
    looked_into,
    names_of,
    span,
    stored_in,
    window_limits,
)
from .failure import FAILED

if TYPE_CHECKING:
    from ..journal.interface import Stored
    from ..journal.local.inspecting import LogReport, SegmentReport


def inspect(
    data_dir: DataDir,
    collection: Annotated[str | None, typer.Option(help="Only this collection.")] = None,
    tenant: Tenant = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the segments of each collection's log: records, versions, seqs, checksums.

    Every checksum is verified; nothing is changed. While a server runs, the end of its log may look
    torn, or even damaged: it is being written. Exit code 1 if something is damaged; repair says
    what that costs.

    \b
    Example:
      omendb-ws inspect /var/lib/omendb --json
    """
    everything = collection is None and tenant is None
    found = looked_into(data_dir) if everything else stored_in(data_dir, collection, tenant)
    documents = [_document(data_dir, stored) for stored in found]
    if as_json:
        print(json.dumps({"collections": documents}, indent=2))
    else:
        for document in documents:
            _print(document)
    if any(document["damage"] is not None for document in documents):
        raise typer.Exit(FAILED)


def _document(data_dir: str, stored: Stored) -> dict[str, Any]:
    from ..journal.local.files import LocalFiles
    from ..journal.local.inspecting import inspect as inspect_log

    directory = log_of(data_dir, stored)
    try:
        report = inspect_log(LocalFiles(), directory, window_limits())
    except OSError as error:
        names = names_of(stored, None)
        return {**names, "directory": directory, "damage": error.strerror, "segments": []}
    return {
        **names_of(stored, report.manifest),
        "directory": directory,
        "damage": None if report.damage is None else str(report.damage),
        **_manifest(report),
        "segments": [_segment(one) for one in report.segments],
    }


def _manifest(report: LogReport) -> dict[str, Any]:
    if report.manifest is None:
        return {}
    manifest, definition, torn = report.manifest, report.manifest.definition, report.torn
    return {
        "epoch": manifest.epoch,
        "durability": manifest.durability,
        "dim": definition.dim,
        "capacity": definition.capacity,
        "metric": definition.metric,
        "ids": definition.ids,
        "columns": dict(definition.columns),
        "ttl": definition.ttl_seconds,
        "version": report.version,
        "first_seq": report.first_seq,
        "last_seq": report.last_seq,
        "clean_stop": report.is_clean,
        "torn_bytes": 0 if torn is None else torn.bytes_cut,
    }


def _segment(one: SegmentReport) -> dict[str, Any]:
    return {
        "file": one.segment.name,
        "bytes": one.end,
        "file_bytes": one.size,
        "flushed_to": one.flushed_to,
        "records": dict(one.held.records),
        "versions": list(one.held.versions) if one.held.changes else None,
        "seqs": list(one.held.seqs) if one.held.seqs[1] else None,
        "bytes_behind": one.bytes_behind,
        "records_behind": dict(one.behind.records),
        "problem": one.problem,
    }


def _print(document: dict[str, Any]) -> None:
    print(f"{document['tenant']}/{document['collection']}  {document['directory']}")
    if document["damage"] is not None:
        print(f"  DAMAGED: {document['damage']}")
    if "epoch" in document:
        stop = "clean stop" if document["clean_stop"] else "running, or no clean stop"
        print(
            f"  epoch {document['epoch']}, {document['durability']}, {document['dim']} dimensions,"
            f" capacity {document['capacity']}, {document['metric']}, ids {document['ids']}"
        )
        print(
            f"  version {document['version']}, {span(document['first_seq'], document['last_seq'])};"
            f" {stop}, {document['torn_bytes']} bytes of a torn end"
        )
    for one in document["segments"]:
        records = ", ".join(f"{count} {name}" for name, count in one["records"].items())
        spans = "".join(
            f"; {name} {one[name][0]} to {one[name][1]}"
            for name in ("versions", "seqs")
            if one[name] is not None
        )
        size = f"{one['bytes']} bytes, flushed to {one['flushed_to']}"
        print(f"  {one['file']}  {size}: {records}{spans}")
        if one["problem"] is not None:
            print(f"    {one['problem']}")
        elif one["bytes_behind"]:
            print(f"    then {one['bytes_behind']} bytes of which not all are records")
