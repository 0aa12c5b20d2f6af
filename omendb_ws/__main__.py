"""``python -m omendb_ws`` is ``omendb-ws``."""

from omendb_ws.cli import main

if __name__ == "__main__":
    main()
