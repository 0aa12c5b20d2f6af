"""Files that an operator writes: taken, or refused by lines that name what is at fault.

Settings, keys and tenants in TOML; a JWKS, a PEM key, and a token in the place of one. A refusal is
of the one kind that its reader has, says where, and quotes no more than a line. What is taken is
within its bounds, and read again it is the same.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from omendb_ws.access.jwt_keys import KeySet, KeySetError, from_jwks, from_pem
from omendb_ws.access.jwt_tokens import JwtRules, TokenRefused, verify
from omendb_ws.access.keyring import KeyFileError, Keyring, key_entry
from omendb_ws.access.principal import Principal
from omendb_ws.access.roles import parse_roles
from omendb_ws.node.config import Settings
from omendb_ws.node.settings_sources import gather
from omendb_ws.tenants.limits import FIELDS, TenantLimits, TenantsFileError
from omendb_ws.wire.rights import RIGHTS
from tests.access import jwt_making
from tests.fuzz.target import Bounds, Target


def one_line(text: str, most: int = 1000) -> None:
    """A refusal as an operator is to read it."""
    assert 0 < len(text) < most, text
    assert text.isprintable(), repr(text)


def strictly(fuzz: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """With warnings for errors."""

    def run(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fuzz(data)

    return run


# -- settings -----------------------------------------------------------------------------------


@strictly
def settings(data: bytes) -> None:
    path = _directory() / "omendb.toml"
    path.write_bytes(data)
    found = gather({"config_file": str(path)}, {})
    for problem in found.problems:
        one_line(problem, 6000)
    assert (found.settings is None) == bool(found.problems)
    if found.settings is None:
        return
    told = found.settings.model_dump()
    assert Settings(**told) == found.settings
    for name, source in found.sources.items():
        assert source in ("default", f"file {path}", "flag --config"), name
    found.settings.limits()


_made: list[tempfile.TemporaryDirectory[str]] = []


def _directory() -> Path:
    """One for this process."""
    if not _made or not os.path.isdir(_made[0].name):
        _made[:] = [tempfile.TemporaryDirectory()]
    return Path(_made[0].name)


SETTINGS_SEEDS = {
    "plain": b'host = "127.0.0.1"\nport = 0\nmax_dim = 64\nmax_memory_bytes = 1000000\n'
    b'allow_origins = ["https://example.org", "http://localhost:3000"]\nlog_level = "info"\n',
    "roles": b'jwt_jwks_file = "/dev/null"\njwt_audience = "x"\njwt_algorithms = ["RS256"]\n'
    b'[jwt_roles.editor]\nrights = ["read", "write"]\ncollections = ["a-*"]\n'
    b'filter = {owner = "${sub}"}\nstamp = {owner = "${sub}"}\n',
    "more": b'data_dir = "data"\ndefault_durability = "always"\nqueue_deadline_ms = 500\n'
    b'trusted_proxies = ["10.0.0.0/8", "::1"]\nproxy_protocol = true\n',
}
SETTINGS_WORDS = [f"{name} = ".encode() for name in Settings.model_fields]


# -- keys ---------------------------------------------------------------------------------------


@strictly
def key_file(data: bytes) -> None:
    try:
        keyring = Keyring.parse(data.decode("utf-8", "replace"))
    except KeyFileError as error:
        refusal = str(error)
    else:
        assert keyring.keys
        names = [principal.name for _, principal in keyring.keys]
        assert len(set(names)) == len(names)
        for digest, principal in keyring.keys:
            assert len(digest) == 64
            check_principal(principal)
            assert keyring.of_source(principal.source) == principal
        assert keyring.authenticate("token-of-nobody") is None
        return
    assert refusal.startswith("key file: ")
    one_line(refusal)
    assert "token-secret" not in refusal  # what is at fault may be a token in the wrong place


def check_principal(principal: Principal) -> None:
    assert principal.tenant
    for grant in principal.grants:
        assert grant.rights <= set(RIGHTS)
        assert grant.collections


KEY_SEEDS = {
    "plain": key_entry("root", "acme", ("read", "write", "admin", "operator"), "t1").encode()
    + key_entry("reader", "default", ("read",), "t2").encode(),
    "grants": key_entry(
        "some", "acme", (), "t3",
        [{"collections": ["clicks-*", "a"], "rights": ["read", "write"],
          "filter": {"shop": "north", "price": {"$lt": 5}}, "stamp": {"shop": "north"}}],
    ).encode(),
}  # fmt: skip
KEY_WORDS = [
    b"[[keys]]\n", b"[[keys.grants]]\n", b"name = ", b"tenant = ", b"rights = ", b"collections = ",
    b"filter = ", b"stamp = ", b"token_sha256 = ", b'"read"', b'"operator"', b'"token-secret"',
    b'"*"', b"nan", b"inf", b"1979-05-27T07:32:00Z", b"{ }", b"[]",
]  # fmt: skip


# -- tenants ------------------------------------------------------------------------------------


@strictly
def tenants_file(data: bytes) -> None:
    try:
        found = TenantLimits.parse(data.decode("utf-8", "replace"), 5)
    except TenantsFileError as error:
        refusal = str(error)
    else:
        assert len(found.named) <= 5
        for limits in (found.default, *found.named.values(), found.of("nobody")):
            for name, one in FIELDS.items():
                value = getattr(limits, name)
                assert value is None or one.metadata["least"] <= value <= one.metadata["most"]
                assert value is None or not isinstance(value, bool)
        return
    assert refusal.startswith("tenants_file: ")
    one_line(refusal)


TENANT_SEEDS = {
    "plain": b"[default]\nmax_connections = 100\nmessages_per_second = 50.5\n\n[tenants.acme]\n"
    b"weight = 4\nrows_per_second = 1000\nqueries_per_second = 0.5\n\n[tenants.umbrella]\n"
    b"max_memory_bytes = 1000000\nengine_ms_per_second = 200\nmax_collections = 3\n",
}
TENANT_WORDS = [
    *(f"{name} = ".encode() for name in FIELDS), b"[tenants.x]\n", b"[default]\n", b"nan", b"inf",
]  # fmt: skip


# -- keys and tokens of JWT ---------------------------------------------------------------------


@strictly
def jwks(data: bytes) -> None:
    try:
        found = from_jwks(data)
    except KeySetError as error:
        said = [str(error)]
    else:
        assert found.keys
        for key in found.keys:
            assert key.algorithms
            assert not any(one.startswith("HS") for one in key.algorithms)
        said = list(found.warnings)
    for one in said:
        assert 0 < len(one) < 20_000
    with suppress(KeySetError):
        assert from_pem(data).keys


JWKS_WORDS = [b'"d":"x"', b'"kty":"oct"', b'"use":"enc"', b'"crv":"P-521"', b'"e":"Aw"', b'"n":']


@cache
def _keys() -> KeySet:
    return from_jwks(jwt_making.jwks("rsa", "ec", "ed"))


RULES = JwtRules(
    ("RS256", "ES256", "EdDSA"), issuer="https://id", audience="omendb", roles_claim="roles",
    roles=parse_roles({"editor": {"rights": ["read"], "filter": {"owner": "${sub}"}}}),
)  # fmt: skip


@strictly
def tokens(data: bytes) -> None:
    """``HEADER.CLAIMS`` of bytes, signed rightly, so that what lies behind the signature is read;
    and the bytes themselves as a token."""
    header, _, body = data.partition(b".")
    for token in (jwt_making.resigned(header, body), data.decode("utf-8", "replace")):
        try:
            principal = verify(token, _keys(), RULES)
        except TokenRefused as error:
            refusal = str(error)
            assert 0 < len(refusal) < 1000
        else:
            assert token.count(".") == 2
            assert isinstance(principal.expires_at, int | float)
            check_principal(principal)


def token_seeds() -> Mapping[str, bytes]:
    header = b'{"alg":"RS256","kid":"rsa"}'
    claims = jwt_making.claims(
        exp=4_000_000_000, iss="https://id", aud="omendb", roles=["editor"], nbf=1, iat=1.5
    )
    return {"good": header + b"." + json.dumps(claims).encode()}


TOKEN_WORDS = [
    b'"alg":"none"', b'"alg":"HS256"', b'"crit":["b64"]', b'"b64":false', b'"kid":', b'"exp":',
    b'"aud":["omendb","x"]', b'"roles":"editor"', b'"omendb":', b'"tenant":', b"null", b"1e999",
    b"NaN", b'"sub":"a\\u0000"', b"[]", b"{}",
]  # fmt: skip

TARGETS = [
    Target(
        "settings_files",
        settings,
        words=SETTINGS_WORDS,
        made=lambda: SETTINGS_SEEDS,
        runs=100,
        bounds=Bounds(peak_bytes=6 << 20),
    ),
    Target("key_files", key_file, words=KEY_WORDS, made=lambda: KEY_SEEDS),
    Target("tenants_files", tenants_file, words=TENANT_WORDS, made=lambda: TENANT_SEEDS),
    Target("jwks", jwks, words=JWKS_WORDS, runs=100),
    Target("tokens", tokens, words=TOKEN_WORDS, made=token_seeds, runs=100),
]
