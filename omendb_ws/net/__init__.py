"""Sockets: WebSocket frames, TLS, who may come in, and the listener."""
