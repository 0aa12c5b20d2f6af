"""Fixtures of the commands' tests."""

from tests.cli.here import omendb

__all__ = ["omendb"]
