"""JSON Web Tokens: who they are, and every way in which they are nobody's."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from omendb_ws.access import jwt_keys
from omendb_ws.access.grants import Grant
from omendb_ws.access.jwt_tokens import JwtRules, TokenRefused, is_jwt, verify
from omendb_ws.access.roles import parse_roles
from tests.access import jwt_making as making

KEYS = jwt_keys.from_jwks(making.jwks("rsa", "ec", "ed"))
RULES = JwtRules(("RS256", "ES256", "EdDSA"))


def refused(token: str, rules: JwtRules = RULES, keys: jwt_keys.KeySet = KEYS) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        verify(token, keys, rules)
    return caught.value


@pytest.mark.parametrize("name", ["rsa", "ec", "ed"])
def test_a_token_that_verifies_is_a_principal(name: str) -> None:
    expires = time.time() + 60
    found = verify(making.token(name, exp=expires), KEYS, RULES)
    assert found.name == "jwt:ann"
    assert found.tenant == "acme"
    assert found.grants == (Grant(frozenset({"read"})),)
    assert found.expires_at == expires + 30
    assert found.source.startswith(f"jwt:{name}-")
    assert not found.is_operator


def test_a_token_without_a_kid_is_tried_with_each_key_that_fits() -> None:
    keys = jwt_keys.from_jwks(making.jwks("rsa", "rsa-2"))
    for name in ("rsa", "rsa-2"):
        assert verify(making.token(name, header={"kid": None}), keys, RULES).tenant == "acme"


def test_an_algorithm_that_is_none_is_nobody() -> None:
    body = making.segment(making.claims())
    for alg in ("none", "None", "NONE", "nOnE", ""):
        refused(f"{making.segment({'alg': alg})}.{body}.")
        refused(f"{making.segment({'alg': alg})}.{body}.{making.segment(b'x')}")


def test_a_public_key_is_no_secret() -> None:
    head, body = making.segment({"alg": "HS256", "kid": "rsa"}), making.segment(making.claims())
    for secret in (making.pem("rsa"), making.pem("rsa").strip(), making.jwks("rsa")):
        made = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        forged = f"{head}.{body}.{making.segment(made)}"
        refused(forged)
        refused(forged, replace(RULES, algorithms=("RS256", "HS256")))
        pem = jwt_keys.from_pem(making.pem("rsa"))
        refused(forged, replace(RULES, algorithms=("RS256", "HS256")), pem)


def test_another_signature_is_nobodys() -> None:
    head, body, signature = making.token().split(".")
    other = making.token("rsa-2").split(".")[2]
    refused(f"{head}.{body}.{other}")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    refused(f"{head}.{body}.{flipped}")
    refused(f"{head}.{making.segment(making.claims(tenant='other'))}.{signature}")
    for end in range(0, len(body), 7):
        refused(f"{head}.{body[:end]}.{signature}")


def test_an_unknown_kid_is_told_so_that_keys_can_be_fetched() -> None:
    assert refused(making.token("rsa-2")).kid == "rsa-2"
    assert refused(making.token("ec", header={"kid": "rsa"})).kid is None


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"kid": 7}, {"b64": False, "crit": ["b64"]}])
def test_a_header_that_asks_for_more_is_refused(header: dict[str, Any]) -> None:
    body = json.dumps(making.claims()).encode()
    refused(making.resigned(json.dumps({"alg": "RS256", "kid": "rsa", **header}).encode(), body))


def test_keys_that_a_header_brings_along_are_ignored() -> None:
    own = {
        "jwk": making.jwk("rsa-2"),
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example",
    }
    refused(making.token("rsa-2", header={**own, "kid": "rsa"}))
    assert verify(making.token("rsa", header=own), KEYS, RULES).tenant == "acme"


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": None},
        {"exp": time.time() - 60},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 1e300},
        {"nbf": time.time() + 86_400},
        {"nbf": "now"},
        {"nbf": float("-inf")},
        {"tenant": None},
        {"tenant": 7},
        {"tenant": ""},
        {"tenant": "../other"},
        {"tenant": "a" * 65},
        {"sub": ["ann"]},
        {"sub": "a" * 300},
        {"sub": "ann\n"},
        {"sub": "a\x00b"},
        {"omendb": "read"},
        {"omendb": {"rights": ["read"]}},
        {"omendb": 1},
        {"omendb": True},
        {"omendb": [1]},
        {"omendb": [{"rights": ["operator"]}]},
        {"omendb": [{"rights": ["read"], "filter": 3}]},
        {"omendb": [{"rights": ["read"], "stamp": {"owner": None}}]},
        {"filler": "a" * 9000},
    ],
)
def test_claims_that_are_not_what_they_must_be_are_nobodys(wrong: dict[str, Any]) -> None:
    body = json.dumps(making.claims(**wrong)).encode()
    refused(making.resigned(b'{"alg":"RS256","kid":"rsa"}', body))


def test_a_little_clock_skew_is_forgiven() -> None:
    assert verify(making.token(exp=time.time() - 20), KEYS, RULES).tenant == "acme"
    refused(making.token(exp=time.time() - 20), replace(RULES, leeway_seconds=1))


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    strict = replace(RULES, issuer="https://id.example", audience="omendb")
    good = {"iss": "https://id.example", "aud": ["other", "omendb"]}
    assert verify(making.token(**good), KEYS, strict).tenant == "acme"
    for wrong in ({"iss": "x"}, {"iss": None}, {"aud": "x"}, {"aud": None}, {"aud": []}):
        refused(making.token(**{**good, **wrong}), strict)
    assert verify(making.token(aud="anything"), KEYS, RULES).tenant == "acme"


def test_what_is_no_strict_base64url_or_json_is_refused() -> None:
    head, body, signature = making.token().split(".")
    for odd in (body + "=", body + "\n", " " + body, body.replace("-", "+") + "+", body + "A", ""):
        refused(f"{head}.{odd}.{signature}")
    refused(f"{head}.{body}")
    refused(f"{head}.{body}.{signature}.x")
    twice = json.dumps(making.claims())[:-1] + ',"tenant":"other"}'
    refused(making.resigned(b'{"alg":"RS256","kid":"rsa"}', twice.encode()))
    refused(making.resigned(b'{"alg":"RS256","alg":"RS256"}', json.dumps(making.claims()).encode()))
    refused(making.resigned(b'{"alg":"RS256"}', b"[]"))
    refused(making.resigned(b'{"alg":"RS256"}', b"[" * 2000))


def test_every_cut_of_a_token_is_nobodys() -> None:
    token = making.token("ec")
    for end in range(len(token)):
        refused(token[:end])


def test_roles_give_grants_with_the_claims_in_them() -> None:
    roles = parse_roles(
        {
            "visitor": {
                "rights": ["read", "write"],
                "filter": {"$or": [{"owner": "${sub}"}, {"public": True}]},
                "stamp": {"owner": "${sub}", "level": "${level}"},
            },
            "reader": {"grants": [{"rights": ["read"], "collections": ["news"]}]},
        }
    )
    rules = replace(RULES, roles=roles, roles_claim="roles")
    found = verify(making.token(roles=["visitor", "unknown"], level=3, omendb=None), KEYS, rules)
    assert [grant.as_json() for grant in found.grants] == [
        {
            "collections": ["*"],
            "rights": ["read", "write"],
            "filter": {"$or": [{"owner": "ann"}, {"public": True}]},
            "stamp": {"owner": "ann", "level": 3},
        }
    ]
    both = verify(making.token(roles="reader"), KEYS, rules)
    assert [grant.collections for grant in both.grants] == [("*",), ("news",)]


@pytest.mark.parametrize("level", [None, ["3"], {"a": 1}, float("nan")])
def test_a_grant_without_the_claim_that_it_needs_is_dropped(level: Any) -> None:
    roles = parse_roles({"visitor": {"rights": ["read"], "filter": {"level": "${level}"}}})
    rules = replace(RULES, roles=roles, roles_claim="roles")
    body = json.dumps(making.claims(roles=["visitor"], level=level, omendb=None)).encode()
    found = verify(making.resigned(b'{"alg":"RS256","kid":"rsa"}', body), KEYS, rules)
    assert found.grants == ()


@pytest.mark.parametrize("roles", [1, {"a": 1}, [1], ["a"] * 65, True])
def test_a_claim_of_roles_of_another_type_is_nobodys(roles: Any) -> None:
    refused(making.token(roles=roles), replace(RULES, roles_claim="roles"))


def test_a_token_of_a_secret_needs_the_secret() -> None:
    keys = jwt_keys.from_secret(b"s" * 32)
    rules = replace(RULES, algorithms=("HS256",))
    good = making.signed(making.claims(), b"s" * 32, "HS256", {})
    assert verify(good, keys, rules).tenant == "acme"
    refused(making.signed(making.claims(), b"t" * 32, "HS256", {}), rules, keys)
    refused(making.signed(making.claims(), b"s" * 64, "HS512", {}), rules, keys)


def test_a_jwt_is_known_by_its_two_dots() -> None:
    assert is_jwt(making.token())
    assert not is_jwt("a-key_of.a")
    assert not is_jwt("a.b.c.d")


def test_ten_thousand_forged_tokens_are_nobodys() -> None:
    head, body, signature = making.token("ed").split(".")
    for number in range(10_000):
        forged = hashlib.sha512(str(number).encode()).digest()
        refused(f"{head}.{body}.{making.segment(forged)}")
    assert verify(f"{head}.{body}.{signature}", KEYS, RULES).tenant == "acme"
