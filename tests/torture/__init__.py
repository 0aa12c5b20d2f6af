"""Tests that kill: a bounded size with the others, full size by ``make torture``."""
