"""The order of rows that pass, and the selection out of it (PROTOCOL section 5)."""
