"""A plugin of pytest: of tests that try every kernel and variant, those of the extension alone.

    python -m pytest -p tests.core.native.compiled_only …

Of tests with many parameters one in `tests.examples.SHARE`, or all (``EXAMPLES=all``).
"""

from __future__ import annotations

from collections import Counter

import pytest
from omendb_core.scan import choice
from omendb_core.scan.reference import REFERENCE

from tests.examples import ARE_ALL, SHARE

#: In names and parameters of tests: what they try is numpy's.
OF_NUMPY = (
    *("numpy", REFERENCE, "without_the_extension"),
    *("small chunks", "eager decisions", "test_memory_does_not_grow_with_rows"),
)
MANY = 40

_every_name = choice.names


def _compiled_names() -> list[str]:
    return [name for name in _every_name() if name != REFERENCE]


def pytest_configure() -> None:
    choice.names = _compiled_names


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    compiled = [item for item in items if not any(one in item.name for one in OF_NUMPY)]
    of_function = Counter(map(_function, compiled))
    met: Counter[str] = Counter()
    kept = []
    for item in compiled:
        name = _function(item)
        if ARE_ALL or of_function[name] < MANY or met[name] % SHARE == 0:
            kept.append(item)
        met[name] += 1
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
