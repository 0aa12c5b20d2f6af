"""Which collections there are, and how they come back at the start."""
