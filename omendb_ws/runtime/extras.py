"""Extras of the package that a setting needs, and that are not installed."""

from __future__ import annotations


class ExtraMissing(Exception):
    """What a setting needs is not installed; the message says how it is."""
