"""Settings for a command, and what they choose: or it fails with a line for each thing wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .failure import failing

if TYPE_CHECKING:
    from ..node.settings_sources import Loaded
    from ..runtime.event_loops import Choice


def load_settings(flags: Mapping[str, Any]) -> Loaded:
    """The settings from ``flags`` (by the settings' names), the environment and the file."""
    from ..node import settings_sources

    with failing(settings_sources.SettingsError):
        return settings_sources.load(flags)


def choose_kernel_and_loop(setting: str) -> tuple[str, Choice]:
    """The name of the kernel, which ``OMENDB_KERNEL`` may force, and the loop for ``event_loop``.

    Imports numpy.
    """
    from omendb_core.scan import choice as scan

    from ..runtime import event_loops

    with failing(ValueError):  # how both refuse a name that is not there
        return scan.choose().name, event_loops.choose(setting)
