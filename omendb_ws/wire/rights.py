"""The rights that a token can hold (PROTOCOL section 9). Imports nothing, as settings do not."""

from __future__ import annotations

from typing import Final, Literal

RIGHTS: Final = ("read", "write", "admin")
#: What an op takes: a right, at least one (``any``), or ``none``.
Right = Literal["read", "write", "admin", "any", "none"]
