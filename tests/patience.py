"""How long tests wait for what must happen.

What takes longer hangs. It is a bound for hangs and nothing else: no test may pass or fail by how
fast the machine is, and one that is shared by many does in a minute what an idle one does at once.
"""

from __future__ import annotations

from typing import Final

#: Below the ``timeout`` of pytest, so that a test that hangs says where.
PATIENCE_SECONDS: Final = 120.0

#: Of a server under test: it refuses nothing for having waited, unless the test is about that.
UNHURRIED: Final = {"queue_deadline_ms": 3_600_000}
#: The same for a server that is a process of its own.
UNHURRIED_VARIABLES: Final = {
    f"OMENDB_{name.upper()}": str(value) for name, value in UNHURRIED.items()
}
