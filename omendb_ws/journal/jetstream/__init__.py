"""Logs as JetStream streams: the journal of a cluster. ``store.py`` is what a node opens."""
