"""A collection of several windows as one: where rows go, and how answers come together. Pure."""
