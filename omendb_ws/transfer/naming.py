"""The producer's name of a load: the same for the same file and the same way of reading it.

The server counts a producer's batches, for as long as it remembers it, so a name is all that a
second run needs to go on where the first one was. A file that was changed has another name: which
of its rows are new nobody can tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from .cutting import RULE, Plan


def producer_name(paths: list[str], reading: Mapping[str, Any], plan: Plan) -> str:
    """Return the name for the files ``paths``, read as ``reading`` says and cut as planned.

    Raises OSError.
    """
    files = []
    for path in paths:
        state = os.stat(path)
        files.append([os.path.realpath(path), state.st_size, state.st_mtime_ns])
    wanted = [plan.wanted.metric, dict(plan.wanted.columns), plan.wanted.max_metadata_bytes]
    said = json.dumps([RULE, files, reading, plan.rows, wanted], sort_keys=True)
    return "load-" + hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
