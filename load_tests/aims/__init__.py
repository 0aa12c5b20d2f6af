"""The aims of this project in figures: what is measured, what is wanted, what it was.

    make bench-aims                                    # all of it, some minutes
    python -m load_tests.aims scan-128 rest --runs 5   # some of it
    python -m load_tests.aims --list

``row`` is what a measurement says, ``benches`` the table of all; a file for each kind of them. In
process: ``scans``, ``filtered``, ``hard``, each in a child of its own with one thread on one core;
through a server, with the load simulation: ``requests``, ``standing``, ``memory``. Figures of one
run are compared with each other, never with a number of another machine or minute.
"""
