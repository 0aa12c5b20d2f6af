"""What a request's ``Accept-Encoding`` takes, of the two codings there are here: gzip and none.

RFC 9110 section 12.5.3. Pure. What cannot be read is passed over: it asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ITEM: Final = re.compile(
    r"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Whether it may be gzip, and whether it may be as it is."""

    gzip: bool
    identity: bool


def accepted(values: Iterable[str]) -> Accepted:
    """What all the ``Accept-Encoding`` headers of a request say together."""
    weights: dict[str, float] = {}
    for item in ",".join(values).lower().split(","):
        read = _ITEM.fullmatch(item.strip(" \t"))
        if read is not None:
            weights[read[1]] = float(read[2] or 1)
    others = weights.get("*")
    gzip = weights.get("gzip", weights.get("x-gzip", others or 0.0))
    identity = weights.get("identity", 1.0 if others is None else others)
    return Accepted(gzip > 0, identity > 0)
