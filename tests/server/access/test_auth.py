"""Keys and tokens: who is who, and which key files are refused."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from omendb_ws.access.keyring import (
    KeyFileError,
    Keyring,
    key_entry,
    new_token,
    token_sha256,
)
from omendb_ws.access.principal import OPEN, Principal


def entry(**changes: str | None) -> str:
    """The TOML of one key; ``changes`` are TOML values, None leaves the field out."""
    fields: dict[str, str | None] = {
        "name": '"app"',
        "tenant": '"acme"',
        "rights": '["read", "write"]',
        "token_sha256": f'"{token_sha256("secret")}"',
    }
    fields.update(changes)
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return "\n".join(["[[keys]]", *lines]) + "\n"


def test_a_token_is_known_by_its_sha256_only() -> None:
    assert token_sha256("secret") == hashlib.sha256(b"secret").hexdigest()
    keyring = Keyring.parse(entry())
    assert keyring.authenticate("secret") == Principal.simple("app", "acme", {"read", "write"})
    assert "secret" not in repr(keyring)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "Secret",
        "secret ",
        " secret",
        "secre",
        "secrett",
        token_sha256("secret"),
        "sécret",
        "\udcff",
        "secret\x00",
        "x" * 10_000_000,
    ],
)
def test_any_other_token_is_nobody(token: str) -> None:
    assert Keyring.parse(entry()).authenticate(token) is None


def test_a_token_that_is_not_latin_works() -> None:
    digest = f'"{token_sha256("ключ")}"'
    assert Keyring.parse(entry(token_sha256=digest)).authenticate("ключ") is not None


def test_hashes_may_be_written_in_capitals() -> None:
    digest = f'"{token_sha256("secret").upper()}"'
    assert Keyring.parse(entry(token_sha256=digest)).authenticate("secret") is not None


def test_each_key_has_its_own_tenant_and_rights() -> None:
    second = key_entry("other", "umbrella", ("admin",), "another")
    keyring = Keyring.parse(entry() + second)
    first_principal = keyring.authenticate("secret")
    second_principal = keyring.authenticate("another")
    assert first_principal is not None
    assert second_principal is not None
    assert (first_principal.tenant, second_principal.tenant) == ("acme", "umbrella")
    assert first_principal.may("write")
    assert not first_principal.may("admin")
    assert second_principal.may("admin")
    assert not second_principal.may("read")


@pytest.mark.parametrize("position", [0, 1, 2, None])
def test_every_key_is_compared_wherever_the_token_is_found(
    position: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ["one", "two", "three"]
    text = "".join(key_entry(token, "acme", ("read",), token) for token in tokens)
    keyring = Keyring.parse(text)
    compared: list[str] = []
    compare_digest = hmac.compare_digest

    def compare(known: str, given: str) -> bool:
        compared.append(known)
        return compare_digest(known, given)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keyring.authenticate("nobody" if position is None else tokens[position])
    assert compared == [token_sha256(token) for token in tokens]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nobody could log in"),
        ("keys = []", "nobody could log in"),
        ("keys = 3", "nobody could log in"),
        ("keys = [1]", "key 1: must be a table"),
        ("not toml", "not TOML"),
        ("extra = 1\n" + entry(), "unknown extra"),
        (entry(name=None), "key 1: no name"),
        (entry(name='""'), "key 1 (''): name must be"),
        (entry(name="3"), "key 1: name must be"),
        (entry(name='"a b"'), "key 1 ('a b'): name must be"),
        (entry(name='"-a"'), "name must be"),
        (entry(name='"' + "a" * 65 + '"'), "name must be"),
        (entry(tenant=None), "key 1 ('app'): no tenant"),
        (entry(tenant='"a/b"'), "key 1 ('app'): tenant must be"),
        (entry(tenant='"a\\n"'), "tenant must be"),
        (entry(rights=None), "no rights"),
        (entry(rights="[]"), "rights must be a non-empty list"),
        (entry(rights='"read"'), "rights must be"),
        (entry(rights='["read", "root"]'), "out of read, write, admin"),
        (entry(rights="[1]"), "rights must be"),
        (entry(token_sha256=None), "no token_sha256"),
        (entry(token_sha256='"secret"'), "64 hexadecimal digits"),
        (entry(token_sha256='"' + "g" * 64 + '"'), "64 hexadecimal digits"),
        (entry(token_sha256='"' + "a" * 63 + '"'), "64 hexadecimal digits"),
        (entry(token_sha256='"' + "a" * 64 + '\\n"'), "64 hexadecimal digits"),
        (entry(token_sha256="1"), "64 hexadecimal digits"),
        (entry(token='"secret"'), "unknown token"),
        (entry() + entry(), "key 2: the name 'app' is that of key 1 too"),
        (entry() + entry(name='"b"'), "key 2 ('b'): the same token as key 1"),
        (entry() + entry(name='"b"', rights="[]"), "key 2 ('b'): rights"),
    ],
)
def test_a_bad_key_file_is_refused_and_the_entry_named(text: str, said: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        Keyring.parse(text, "keys.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("keys.toml: ")
    assert "\n" not in str(caught.value)


def test_a_key_file_that_others_can_read_or_a_group_can_change_is_a_warning(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(entry())
    for mode in (0o600, 0o640):
        path.chmod(mode)
        assert Keyring.load(path).warnings == ()
    for mode in (0o604, 0o620, 0o644, 0o660):
        path.chmod(mode)
        (warning,) = Keyring.load(path).warnings
        assert str(path) in warning
        assert f"{mode:o}" in warning
        assert Keyring.load(path).authenticate("secret") is not None


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"key file .*missing\.toml: No such file"):
        Keyring.load(tmp_path / "missing.toml")
    with pytest.raises(KeyFileError, match="Is a directory"):
        Keyring.load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="not UTF-8 text"):
        Keyring.load(binary)


def test_a_new_token_works_with_the_entry_that_is_printed_for_it() -> None:
    tokens = [new_token() for _ in range(3)]
    assert len(set(tokens)) == 3
    assert all(len(token) >= 43 and token.isascii() for token in tokens)
    text = "".join(
        key_entry(f"key-{number}", "acme", ("read", "admin"), token)
        for number, token in enumerate(tokens)
    )
    keyring = Keyring.parse(text)
    for number, token in enumerate(tokens):
        assert keyring.authenticate(token) == Principal.simple(
            f"key-{number}", "acme", {"read", "admin"}
        )
        assert token not in text


@pytest.mark.parametrize(
    ("name", "tenant", "rights"),
    [('a"', "t", ("read",)), ("a", "t\\", ("read",)), ("a", "t", ("all",)), ("a", "t", ())],
)
def test_no_entry_is_made_that_would_be_refused(
    name: str, tenant: str, rights: tuple[str, ...]
) -> None:
    with pytest.raises(KeyFileError, match="the new key"):
        key_entry(name, tenant, rights, "token")


def test_an_open_server_gives_everybody_every_right() -> None:
    assert OPEN.tenant == "default"
    assert all(OPEN.may(right) for right in ("read", "write", "admin"))


def test_a_key_may_have_grants_beside_rights_or_instead() -> None:
    grants = """
[[keys.grants]]
collections = ["clicks-*"]
rights = ["write"]
filter = { owner = "app" }
stamp = { owner = "app" }
"""
    alone = Keyring.parse(entry(rights=None) + grants).keys[0][1]
    assert [grant.as_json() for grant in alone.grants] == [
        {
            "collections": ["clicks-*"],
            "rights": ["write"],
            "filter": {"owner": "app"},
            "stamp": {"owner": "app"},
        }
    ]
    both = Keyring.parse(entry(rights='["read"]') + grants).keys[0][1]
    assert [sorted(grant.rights) for grant in both.grants] == [["read"], ["write"]]
    with pytest.raises(KeyFileError, match="no rights and no grants"):
        Keyring.parse(entry(rights=None))
    with pytest.raises(KeyFileError, match=r"grants\[0\].rights"):
        Keyring.parse(entry() + grants.replace('"write"', '"own"'))


def test_admins_of_the_default_tenant_are_operators_unless_a_key_is_named_one() -> None:
    def key(name: str, tenant: str, rights: str) -> str:
        return entry(
            name=f'"{name}"',
            tenant=f'"{tenant}"',
            rights=rights,
            token_sha256=f'"{token_sha256(name)}"',
        )

    plain = key("a", "default", '["admin"]') + key("b", "other", '["admin"]')
    plain += key("c", "default", '["read"]')
    assert [one.is_operator for _, one in Keyring.parse(plain).keys] == [True, False, False]
    named = plain + key("d", "other", '["operator"]')
    assert [one.is_operator for _, one in Keyring.parse(named).keys] == [False] * 3 + [True]
    assert not Keyring.parse(named).keys[3][1].rights
