"""The thread that owns the windows."""
