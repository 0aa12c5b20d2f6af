"""``omendb-ws upgrade-check``: whether this version opens a data directory, before it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .directories import DataDir, log_of, looked_into, names_of
from .failure import FAILED
from .loading import load_settings

if TYPE_CHECKING:
    from omendb_core.model.types import WindowLimits

    from ..journal.interface import Stored


def upgrade_check(
    data_dir: DataDir,
    config: options.ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether this version of the server opens a data directory, and what it will do with it.

    Every record is read as a start reads it; nothing is changed. Run it with the new version while
    the old one still serves, or on a backup. Exit code 1 if a collection would not come back.

    \b
    Example:
      omendb-ws upgrade-check /var/lib/omendb-ws
    """
    from .._version import VERSION
    from ..catalog.catalog import window_limits
    from ..journal.local.records import FORMAT

    settings = load_settings(options.given(config_file=config)).settings
    found = looked_into(data_dir)
    limits = window_limits(settings.limits())
    collections = [_looked_into(data_dir, stored, limits) for stored in found]
    needed = sum(one["memory_bytes"] for one in collections)
    document = {
        "version": VERSION,
        "reads_format": FORMAT,
        "memory_bytes": needed,
        "max_memory_bytes": settings.max_memory_bytes,
        "collections": collections,
        "opens": all(one["problem"] is None for one in collections),
    }
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print(document)
    if not document["opens"]:
        raise typer.Exit(FAILED)


def _looked_into(data_dir: str, stored: Stored, limits: WindowLimits) -> dict[str, Any]:
    from omendb_core.scan.choice import choose
    from omendb_core.state import reserved_bytes

    from ..journal.local.files import LocalFiles
    from ..journal.local.inspecting import inspect

    nothing = {"formats": [], "memory_bytes": 0, "clean_stop": False, "torn_bytes": 0}
    try:
        report = inspect(LocalFiles(), log_of(data_dir, stored), limits)
    except OSError as error:
        return {**names_of(stored, None), **nothing, "problem": error.strerror}
    manifest, torn = report.manifest, report.torn
    return {
        **names_of(stored, manifest),
        "formats": sorted({one.format for one in report.segments if one.format is not None}),
        "memory_bytes": 0 if manifest is None else reserved_bytes(manifest.definition, choose()),
        "clean_stop": report.is_clean,
        "torn_bytes": 0 if torn is None else torn.bytes_cut,
        "problem": None if report.damage is None else str(report.damage),
    }


def _print(document: dict[str, Any]) -> None:
    for one in document["collections"]:
        print(f"{one['tenant']}/{one['collection']}  {_verdict(one)}")
    megabytes = (
        f"{document['memory_bytes'] / 1e6:,.1f} of {document['max_memory_bytes'] / 1e6:,.1f}"
    )
    print(
        f"omendb-ws {document['version']} reads format {document['reads_format']}; windows take"
        f" {megabytes} MB of max_memory_bytes, metadata comes on top"
    )
    if document["memory_bytes"] > document["max_memory_bytes"]:
        print("they come back all the same, and nothing new goes in: raise max_memory_bytes")
    if not document["collections"]:
        return  # nothing that could be ready, and perhaps another directory was meant
    print(
        "ready: take a backup, stop the server, install, start"
        if document["opens"]
        else "NOT ready: what would not come back is named above; see omendb-ws repair"
    )


def _verdict(one: dict[str, Any]) -> str:
    if one["problem"] is not None:
        return f"would NOT come back: {one['problem']}"
    formats = ", ".join(map(str, one["formats"]))
    if one["clean_stop"]:
        return f"format {formats}: opens as it is"
    cut = f", {one['torn_bytes']} bytes of a torn end are cut" if one["torn_bytes"] else ""
    return f"format {formats}: opens{cut}; it is being written, or was not stopped in order"
