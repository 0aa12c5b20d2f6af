"""The protocol without I/O: bytes to typed messages and back (PROTOCOL.md)."""
