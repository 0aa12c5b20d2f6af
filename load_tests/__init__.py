"""Load on a running server: small benchmarks, the load simulation, and what reports on them."""
