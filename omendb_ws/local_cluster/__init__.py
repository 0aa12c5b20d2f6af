"""A whole cluster on this machine, for development: NATS servers and nodes, each a process."""
