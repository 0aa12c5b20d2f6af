"""Settings for a command: loaded, or the command fails with a line for each one at fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .failure import failing

if TYPE_CHECKING:
    from ..config import Loaded


def load_settings(flags: Mapping[str, Any]) -> Loaded:
    """The settings from ``flags`` (by the settings' names), the environment and the file."""
    from .. import config

    with failing(config.SettingsError):
        return config.load(flags)
