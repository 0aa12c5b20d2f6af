"""Several nodes over one NATS: who is there, who should hold what, and what this one is to do."""
