"""A collection's stream, and what a node works on it with. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from omendb_core.model.types import WindowLimits

from ..interface import Stored
from .api import JetStream
from .names import stream, subject
from .ownership import Ownership


@dataclass(frozen=True, slots=True)
class Streamed:
    """``remove`` takes the collection out of the cluster."""

    jetstream: JetStream
    cluster: str
    stored: Stored
    ownership: Ownership
    limits: WindowLimits
    remove: Callable[[], None]

    @property
    def stream(self) -> str:
        """What its stream is called."""
        return stream(self.cluster, self.stored.key)

    @property
    def subject(self) -> str:
        """The one subject of that."""
        return subject(self.cluster, self.stored.key)
