"""Counters and histograms, and how they are told."""
