"""All targets, by name."""

from __future__ import annotations

from typing import Final

from .target import Target
from .targets import frames, journal_files, text_requests

TARGETS: Final[dict[str, Target]] = {
    module.TARGET.name: module.TARGET for module in (frames, journal_files, text_requests)
}
