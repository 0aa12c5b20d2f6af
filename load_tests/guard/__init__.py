"""A guard against getting slower, by figures that a busy machine does not change.

    python -m load_tests.guard              # the last part of make bench
    python -m load_tests.guard --record     # a new baseline.json, when a change is meant to be one

``instructions`` are counted by valgrind: of a scan and of an add, the same every time. ``ratios``
are times by the time of the same work in numpy, by turns in one run. Both are held against
``baseline.json``. What is missing here (valgrind, a kernel without a baseline) is skipped by name.
"""
