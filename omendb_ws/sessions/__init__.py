"""One connection without its socket: what it asks, and what goes back."""
