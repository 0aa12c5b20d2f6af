"""``check-token``: who a token is, and why it is nobody's, without a server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from omendb_ws.access.keyring import key_entry
from tests.cli.commands import serving
from tests.cli.here import run
from tests.server.tokens import SECRET, token


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A file of settings with a key file and a secret."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "keys.toml").write_text(key_entry("app", "acme", ("read", "admin"), "a-token"))
    (tmp_path / "keys.toml").chmod(0o600)
    path = tmp_path / "omendb.toml"
    path.write_text("jwt_secret_file = 'secret'\napi_key_file = 'keys.toml'")
    return str(path)


def test_a_key_is_told_with_its_rights(config: str) -> None:
    ran = run("check-token", "a-token", "--config", config)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "app of tenant acme; expires never"
    assert "read, admin" in ran.out


def test_a_jwt_is_told_with_its_grants_and_its_end(config: str) -> None:
    grant = {"collections": ["a-*"], "rights": ["read"], "filter": {"owner": "me"}}
    ran = run("check-token", token(grant), "--config", config, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["name"] == "jwt:ann"
    assert said["grants"] == [grant]
    assert 570 < said["exp_in_s"] <= 600
    assert said["expires_in_s"] == said["exp_in_s"] + 30
    told = run("check-token", token(grant), "--config", config).out
    assert re.search(r"; expires in \d+ s, and is taken for 30 s more$", told, re.M), told
    nothing = run("check-token", token(omendb=None), "--config", config)
    assert nothing.out.endswith("no grants: it may do nothing\n")


def test_a_jwt_that_has_ended_is_not_told_as_one_that_has_not(config: str) -> None:
    Path(config).write_text(Path(config).read_text() + "\njwt_leeway_seconds = 600")
    ended = token(exp=int(time.time()) - 60)
    ran = run("check-token", ended, "--config", config)
    assert ran.code == 0, ran.err
    assert re.search(
        r"; expired \d+ s ago, and is taken for \d+ s more \(jwt_leeway_seconds\)$", ran.out, re.M
    ), ran.out
    said = json.loads(run("check-token", ended, "--config", config, "--json").out)
    assert -600 < said["exp_in_s"] <= -60
    assert said["expires_in_s"] == said["exp_in_s"] + 600
    Path(config).write_text(Path(config).read_text().replace("600", "0"))
    over = run("check-token", ended, "--config", config)
    assert (over.code, over.err) == (1, "omendb-ws: nobody's: it has expired\n")


def test_an_operator_without_grants_is_not_said_to_do_nothing(config: str) -> None:
    keys = Path(config).with_name("keys.toml")
    keys.write_text(key_entry("watch", "acme", ("operator",), "a-token"))
    ran = run("check-token", "a-token", "--config", config)
    assert ran.out.splitlines()[1:] == [
        "operator: may see the whole server",
        "no grants: it may do nothing else",
    ]


def test_a_token_may_come_by_standard_input(config: str) -> None:
    ran = run("check-token", "-", "--config", config, input=b"a-token\n")
    assert ran.out.startswith("app of tenant acme")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing", "the token is not known"),
        (token(exp=time.time() - 100), "it has expired"),
        (token(exp=time.time() + 86_400) + "x", "nobody's"),
        (token(tenant="", exp=time.time() + 86_400), "tenant"),
    ],
)
def test_a_token_that_is_nobodys_says_why(given: str, said: str, config: str) -> None:
    ran = run("check-token", given, "--config", config)
    assert ran.code == 1
    assert said in ran.err
    assert given not in ran.err


def test_who_gives_a_file_instead_of_a_token_is_told(config: str, tmp_path: Path) -> None:
    (tmp_path / "app.token").write_text("secret\n")
    ran = run("check-token", str(tmp_path / "app.token"), "--config", config)
    assert ran.code == 2
    assert ran.err == (
        "omendb-ws: check-token: that is the name of a file, not a token; give - and its text on"
        " standard input\n"
    )


def test_what_is_not_told_is_a_dash(config: str, tmp_path: Path) -> None:
    filtered = {"rights": ["read"], "filter": {"owner": "me"}}
    with serving("--config", config, "--port", "0") as server:
        given = {"OMENDB_URL": server.url, "OMENDB_TOKEN": token()}
        columns = ["--dim", 2, "--capacity", 9, "--columns", "owner:str"]
        assert run("create", "items", *columns, **given).code == 0
        for grant in ({}, filtered):
            given["OMENDB_TOKEN"] = token(*([grant] if grant else []))
            listed = run("list", **given)
            assert listed.code == 0, listed.err
            assert (listed.out.split()[-1] == "-") == bool(grant)
            assert run("stats", "items", **given).code == 0
            assert run("top", "--json", "--count", 1, **given).code == 0


def test_settings_without_keys_take_no_tokens() -> None:
    ran = run("check-token", "a-token")
    assert ran.code == 2
    assert "take no tokens" in ran.err


def test_what_a_role_does_not_grant_is_said(config: str) -> None:
    path = Path(config)
    role = "[jwt_roles.reader]\nrights = ['read']\nfilter = { owner = '${owner}' }\n"
    path.write_text(f"{path.read_text()}\njwt_roles_claim = 'roles'\n{role}")
    given = token(omendb=None, roles=["reader", "reeder"])
    ran = run("check-token", given, "--config", config)
    assert ran.code == 0
    assert ran.out.endswith("no grants: it may do nothing\n")
    assert ran.err.splitlines() == [
        "omendb-ws: its role 'reader' has a grant that needs the claim 'owner'",
        "omendb-ws: its role 'reeder' is not among jwt_roles, and grants nothing",
    ]
    whole = run("check-token", token(roles=["reader"], owner="me"), "--config", config)
    assert whole.err == ""
