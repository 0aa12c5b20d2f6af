"""The journal: what makes an acknowledgement last. ``interface.py`` is what the server sees."""
