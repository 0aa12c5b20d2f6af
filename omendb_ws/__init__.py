"""OmenDB-WS: live, exact vector search over a sliding window, through a WebSocket."""
