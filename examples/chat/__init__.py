"""A chat whose visitors read and write the vector server themselves, each with its own token."""
