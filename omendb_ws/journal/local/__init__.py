"""Logs in files of this machine."""
