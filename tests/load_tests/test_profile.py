"""How stacks become a table of the costliest places."""

from __future__ import annotations

from load_tests import profile
from load_tests.profile import Place

STACKS = """\
thread (1): omendb-engine;Thread.run (threading.py:9);tick (omendb_ws/engine.py:2);\
scan (omendb_core/kernels/scan.py:4);matmul (numpy/linalg.py:5) 6
thread (1): omendb-engine;Thread.run (threading.py:9);tick (omendb_ws/engine.py:3) 1
thread (2): MainThread;main (__main__.py:1);run (omendb_ws/cli/serve.py:99);select (io.py:1) 2
thread (2): MainThread;run (omendb_ws/cli/serve.py:99);scan (omendb_core/kernels/scan.py:4);\
scan (omendb_core/kernels/scan.py:7) 1
"""


def test_a_look_counts_for_the_innermost_function_of_this_project_and_its_thread() -> None:
    found = profile.read(iter(STACKS.splitlines()))
    scan, tick = "scan (omendb_core/kernels/scan.py)", "tick (omendb_ws/engine.py)"
    engine, loop = "omendb-engine", "MainThread"
    assert found.looks == 10
    assert found.threads == {1: engine, 2: loop}
    assert found.own == {
        Place(engine, scan): 6,
        Place(engine, tick): 1,
        Place(loop, "(outside of this project)"): 2,
        Place(loop, scan): 1,
    }
    assert found.within[Place(engine, tick)] == 7
    assert found.within[Place(loop, scan)] == 1, "a function that calls itself is there once"
    lines = list(profile.lines(found, 2))
    assert lines[1].split() == ["60.0%", "60.0%", engine, "scan", "(omendb_core/kernels/scan.py)"]
    assert len(lines) == 3
