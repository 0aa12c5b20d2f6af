"""A bar for recovery: what ``serve`` shows on a terminal while collections recover.

In a log that is no terminal the lines of ``recovery.py`` say the same.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..catalog.recovery import Recoveries

_SHOW_SECONDS: Final = 0.1
#: What is back sooner needs no bar, and rich takes time to import.
_PATIENCE_SECONDS: Final = 0.5


async def show(recoveries: Recoveries | None) -> None:
    """Show how far the recovery is until everything is back; nothing where that takes no time."""
    if recoveries is None or not sys.stderr.isatty():
        return
    await asyncio.sleep(_PATIENCE_SECONDS)
    if not recoveries.waiting:
        return
    from .progress import shown

    with shown("recovering") as bar:
        while recoveries.waiting:
            bar.update(recoveries.rows, recoveries.share)
            await asyncio.sleep(_SHOW_SECONDS)
