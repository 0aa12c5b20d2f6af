"""One server without its sockets."""
