"""A server's address as messages, logs and terminals may show it."""

from __future__ import annotations

import re
from typing import Final

_USER: Final = re.compile(r"(^|//)[^/?#]*@")


def shown(url: str) -> str:
    """``url`` without what may be a secret: a user's name and password, a query, a fragment."""
    return _USER.sub(r"\1", re.split(r"[?#]", url, maxsplit=1)[0])
