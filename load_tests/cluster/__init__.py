"""What a cluster costs and how it bears losses: measured by ``load_tests/bench_cluster.py``."""
