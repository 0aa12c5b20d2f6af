"""The HTTP API, on a port of its own: FastAPI routes over the server's own sessions."""
