"""``new-key`` with grants: what it prints is a key file that means what the flags say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.access.grants import Grant
from omendb_ws.access.keyring import KeyFileError, Keyring, key_entry
from omendb_ws.access.principal import Principal
from omendb_ws.runtime.toml_files import parse
from omendb_ws.runtime.toml_values import MOST_DEPTH, TomlValueError, toml_value

from .here import omendb_ws

OWNED = {"owner": "widget"}
#: The flags, and the grants that they mean.
MEANT: dict[str, tuple[list[str], tuple[Grant, ...]]] = {
    "patterns": (
        ["--right", "read", "--collection", "clicks-*", "--collection", "news"],
        (Grant(frozenset({"read"}), ("clicks-*", "news")),),
    ),
    "rows": (
        ["--filter", '{"owner": "widget"}', "--stamp", '{"owner": "widget", "n": 3}'],
        (Grant(frozenset({"read", "write"}), ("*",), OWNED, {**OWNED, "n": 3}),),
    ),
    "one more": (
        ["--right", "read", "--grant", '{"rights": ["write"], "collections": ["in-*"]}'],
        (Grant(frozenset({"read"})), Grant(frozenset({"write"}), ("in-*",))),
    ),
    "grants alone": (
        ["--grant", '{"rights": ["admin"]}', "--grant", '{"rights": ["read"], "filter": {"a": 1}}'],
        (Grant(frozenset({"admin"})), Grant(frozenset({"read"}), ("*",), {"a": 1})),
    ),
    "an operator with a limit": (
        ["--right", "operator", "--right", "read", "--collection", "a"],
        (Grant(frozenset({"read"}), ("a",)),),
    ),
}


def loaded(path: Path, token: str) -> Principal:
    found = Keyring.load(path).authenticate(token)
    assert found is not None
    return found


@pytest.mark.parametrize("name", MEANT)
def test_the_entry_with_its_grants_loads_as_it_was_meant(name: str, tmp_path: Path) -> None:
    flags, grants = MEANT[name]
    keys = tmp_path / "keys.toml"
    printed = omendb_ws("new-key", "--name", "widget", *flags)
    assert printed.returncode == 0, printed.stderr
    keys.write_text(printed.stdout)
    token = printed.stderr.rsplit(" ", 1)[1].strip()
    assert loaded(keys, token).grants == grants
    assert loaded(keys, token).is_operator is ("operator" in flags or name == "grants alone")
    appended = omendb_ws("new-key", "--name", "other", *flags, "--append-to", str(keys))
    assert appended.returncode == 0, appended.stderr
    assert loaded(keys, appended.stderr.splitlines()[-1].rsplit(" ", 1)[1]).grants == grants
    assert loaded(keys, token).grants == grants


REFUSED = {
    "no JSON": (["--filter", "{"], "--filter: not JSON"),
    "no object": (["--stamp", "[1]"], "--stamp: must be a JSON object"),
    "a grant of text": (["--grant", '"read"'], "--grant: must be a JSON object"),
    "a repeated key": (["--filter", '{"a": 1, "a": 2}'], "--filter: not JSON: the key 'a'"),
    "not finite": (["--stamp", '{"a": NaN}'], "--stamp: not JSON: NaN is no number"),
    "null": (["--filter", '{"a": null}'], "grants[0].filter: null"),
    "half a pair": (["--filter", '{"a": "\\ud800"}'], "grants[0].filter: text with half"),
    "a list in a stamp": (["--stamp", '{"a": [1]}'], "grants[0].stamp.a: must be a string"),
    "another right": (["--right", "own", "--collection", "a"], "grants[0].rights"),
    "no right": (["--right", "operator", "--collection", "a"], "grants[0].rights"),
    "no pattern": (["--collection", "a b"], "grants[0].collections[0]"),
    "another field": (
        ["--grant", '{"rights": ["read"], "filters": {}}'],
        "unknown field 'filters'",
    ),
    "the second grant": (
        ["--collection", "a", "--grant", '{"rights": "read"}'],
        "grants[1].rights",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_grant_that_no_key_file_takes_is_refused_by_its_field(name: str, tmp_path: Path) -> None:
    flags, said = REFUSED[name]
    keys = tmp_path / "keys.toml"
    finished = omendb_ws("new-key", "--name", "app", *flags, "--append-to", str(keys))
    assert (finished.returncode, finished.stdout) == (2, "")
    assert said in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert not keys.exists()


TEXTS = st.text(max_size=12).filter(lambda text: text.isascii() or _has_no_half_pair(text))
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _has_no_half_pair(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _exact(value: Any) -> str:
    """Text that tells 1 from 1.0 and True, and 0.0 from -0.0."""
    return json.dumps(value)


@given(VALUES)
def test_toml_reads_back_what_was_written(value: Any) -> None:
    assert _exact(parse(f"value = {toml_value(value)}")["value"]) == _exact(value)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_filter_that_is_written_loads_again(document: dict[str, Any]) -> None:
    text = key_entry("a", "b", (), "token", [{"rights": ["read"], "filter": document}])
    found = Keyring.parse(text).authenticate("token")
    assert found is not None
    assert _exact(found.grants[0].filter) == _exact(document)


def test_what_toml_cannot_say_is_refused() -> None:
    deep: Any = 1
    for _ in range(MOST_DEPTH + 1):
        deep = [deep]
    for value in (None, float("inf"), float("nan"), "\ud800", {"\udfff": 1}, deep, (1,), b"x"):
        with pytest.raises(TomlValueError):
            toml_value(value)
    with pytest.raises(KeyFileError, match=r"grants\[0\]\.filter: null"):
        key_entry("a", "b", (), "token", [{"rights": ["read"], "filter": {"a": [None]}}])
