"""What live queries are near to, and leave out, as the window has it when they are answered.

Lives on the engine's thread. A target of examples is fixed here, by the rows of this moment, and
stays what it is whatever becomes of them (PROTOCOL section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from omendb_core.model.errors import NotFound
from omendb_core.model.types import F32
from omendb_core.search.examples import target as target_of
from omendb_core.search.query import Examples, prepare_queries
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

from .commands import Changes, SameAs, Target
from .live_query import LeftOut, LiveQuery


def prepared(window: Window, targets: Sequence[Target]) -> F32:
    """The vectors of these targets, one after the other, as they are scored.

    Raises NonFinite, ZeroNorm, and of examples NotFound and DimMismatch, with ``row``.
    """
    given = [one for one in targets if not isinstance(one, Examples | SameAs)]
    if len(given) == len(targets):
        return prepare_queries(window.definition, np.concatenate(given))
    return np.concatenate([_one(window, one) for one in targets])


def _one(window: Window, target: Target) -> F32:
    if isinstance(target, Examples):
        return target_of(window.state, target)
    if isinstance(target, SameAs):
        if target.query.handle is None:
            raise NotFound(f"sub: there is no {target.query.sub}")
        same: F32 = window.standing.table.vectors[[target.query.handle]]
        return same
    return prepare_queries(window.definition, target)


def changed(query: LiveQuery, changes: Changes) -> tuple[StandingQuery, LeftOut]:
    """What a query asks after a move, and what it leaves out."""
    left_out, asked = query.left_out, dict(changes.asked)
    if changes.target is not None and not (changes.examples is left_out.examples is None):
        left_out = LeftOut(left_out.given, changes.examples)
    if changes.given is not None:
        left_out = LeftOut(changes.given, left_out.examples)
    if left_out is not query.left_out:
        asked["exclude"] = left_out.ids
    return (replace(query.query, **asked) if asked else query.query), left_out
