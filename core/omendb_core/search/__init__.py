"""Searches over one window."""
