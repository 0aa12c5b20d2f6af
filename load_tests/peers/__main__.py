"""``python -m load_tests.peers``."""

from .compare import main

main()
