"""What a segment begins with, as bytes and back: its ``open`` record. Pure.

It says of which collection it is, what came before, and the checkpoint that it starts from.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import ColumnType, Definition, IdKind, Metric

from ..interface import Durability, Manifest
from .layout import Malformed, PayloadReader, lay_out
from .records import Body, Header, Type


class Previous(NamedTuple):
    """The segment before: its number, where its records end, the seed in its name if known."""

    number: int
    end: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a segment begins with: all that is to be known of what came before it.

    ``number`` of the segment; ``previous`` is None if there is none before; ``boot_id`` of the
    machine's run that wrote it, "" if unknown; ``missing_to``: rows up to that seq were lost in a
    repair. ``made_bytes``: how long its file was made; ``has_note``: whether the log has a note
    (``notes.py``). Logs of 0.1.0's first days say neither, nor a seed.
    """

    manifest: Manifest
    checkpoint: Checkpoint
    number: int
    previous: Previous | None
    boot_id: str
    missing_to: int = 0
    made_bytes: int = 0
    has_note: bool = False


def opening_body(opening: Opening) -> Body:
    """The record that a segment opens with."""
    manifest, checkpoint = opening.manifest, opening.checkpoint
    seed = None if opening.previous is None else opening.previous.seed
    json = manifest_json(manifest) | {
        "segment": opening.number,
        "previous": opening.previous and opening.previous[:2],
        "previous_seed": None if seed is None else f"{seed:016x}",
        "made_bytes": opening.made_bytes,
        "has_note": opening.has_note,
        "boot_id": opening.boot_id,
        "missing_to": opening.missing_to,
        "first_seq": checkpoint.first_seq,
        "producers": checkpoint.producers,
    }
    return lay_out(
        Type.OPEN, checkpoint.version, json, [],
        dim=manifest.definition.dim, seq=checkpoint.last_seq, time_us=checkpoint.time_us,
    )  # fmt: skip


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """What a log says of its collection, as JSON."""
    return {
        "tenant": manifest.tenant,
        "collection": manifest.name,
        **definition_json(manifest.definition),
        "durability": manifest.durability,
        "epoch": manifest.epoch,
    }


def opening_of(header: Header, payload: memoryview) -> Opening:
    """What a segment opens with. Raises Malformed."""
    reader = PayloadReader(header, payload)
    json = reader.json
    try:
        manifest = manifest_of(json)
        checkpoint = checkpoint_of(header, json)
        opening = Opening(
            manifest,
            checkpoint,
            operator.index(json["segment"]),
            _previous_of(json),
            json["boot_id"],
            json["missing_to"],
            operator.index(json.get("made_bytes", 0)),
            json.get("has_note", False) is True,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the opening of a segment: {error}") from error
    reader.finish()
    return opening


def _previous_of(json: Mapping[str, Any]) -> Previous | None:
    """The segment before. ValueError, KeyError, TypeError."""
    if json["previous"] is None:
        return None
    number, end = json["previous"]
    seed = json.get("previous_seed")
    return Previous(
        operator.index(number), operator.index(end), None if seed is None else int(seed, 16)
    )


def checkpoint_of(header: Header, json: Mapping[str, Any]) -> Checkpoint:
    """Where a window stood, by a record that says so. ValueError, KeyError, TypeError."""
    producers = tuple(
        (name, batch, tuple((first, last) for first, last in seqs))
        for name, batch, seqs in json["producers"]
    )
    return Checkpoint(header.version, json["first_seq"], header.seq, header.time_us, producers)


def manifest_of(json: Mapping[str, Any]) -> Manifest:
    """What a log says of its collection. ValueError, KeyError, TypeError."""
    texts = [json[key] for key in ("tenant", "collection", "epoch")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name that is no text")
    durability = chosen(json["durability"], get_args(Durability))
    return Manifest(texts[0], texts[1], definition_of(json), durability, texts[2])


def definition_json(definition: Definition) -> dict[str, Any]:
    """What is written down of a definition."""
    return {
        "dim": definition.dim,
        "capacity": definition.capacity,
        "metric": definition.metric,
        "ids": definition.ids,
        "columns": dict(definition.columns),
        "ttl": definition.ttl_seconds,
    }


def definition_of(json: Mapping[str, Any]) -> Definition:
    """What was written down of it. ValueError, KeyError, TypeError."""
    dim, capacity, ttl = operator.index(json["dim"]), operator.index(json["capacity"]), json["ttl"]
    columns = json["columns"]
    if min(dim, capacity) < 1 or (ttl is not None and not 0 < float(ttl) < math.inf):
        raise ValueError("a definition that no collection has")
    metric, ids = chosen(json["metric"], get_args(Metric)), chosen(json["ids"], get_args(IdKind))
    for kind in columns.values():
        chosen(kind, get_args(ColumnType))
    return Definition(dim, capacity, metric, ids, columns, ttl)


def chosen(value: Any, known: tuple[Any, ...]) -> Any:
    """``value``, which is one of ``known``. ValueError."""
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value
