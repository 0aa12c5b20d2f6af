"""What a window keeps of its rows, slot by slot: vectors, ids, columns, payloads."""
