"""This engine beside others: the same vectors, one machine, one run, each in its own process.

    pip install -e '.[peers]'
    python -m load_tests.peers --quick
    python -m load_tests.peers --only faiss-hnsw,omendb-server --json peers.json

``peer`` says what one is; each has a file of its own. ``measure`` is what a peer's process runs,
``compare`` starts these processes and prints the table. What is not installed is skipped by name.
"""
