"""Searches and other reads."""
