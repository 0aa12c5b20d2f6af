"""What all of the engine speaks of."""
