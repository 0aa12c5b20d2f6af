"""A page that follows a stream by server-sent events."""
