"""How many examples hypothesis tries: a third of them in ``make test``, all in ``make torture``.

Which they are is fixed (``conftest.py``), so the third is always the same.
"""

from __future__ import annotations

import os
from typing import Final

#: ``EXAMPLES=all``.
ARE_ALL: Final = os.environ.get("EXAMPLES") == "all"
SHARE: Final = 3


def examples(count: int) -> int:
    """How many of ``count`` are tried now."""
    return count if ARE_ALL else -(-count // SHARE)
