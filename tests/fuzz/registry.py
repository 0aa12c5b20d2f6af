"""All targets, by name."""

from __future__ import annotations

from typing import Final

from .target import Target
from .targets import (
    configuration,
    data_files,
    filters,
    frames,
    http_api,
    http_requests,
    journal_files,
    rank_expressions,
    replies,
    sessions,
    text_requests,
)

_ALL: Final = [
    frames.TARGET,
    text_requests.TARGET,
    *replies.TARGETS,
    *http_requests.TARGETS,
    http_api.TARGET,
    filters.TARGET,
    rank_expressions.TARGET,
    journal_files.TARGET,
    sessions.TARGET,
    *configuration.TARGETS,
    *data_files.TARGETS,
]
TARGETS: Final[dict[str, Target]] = {target.name: target for target in _ALL}
