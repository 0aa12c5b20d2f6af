"""Keys for JSON Web Tokens: what is taken, and what is left out with a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omendb_ws.access.jwt_keys import HMAC_ALGORITHMS, KeySetError, from_jwks, from_pem, from_secret
from tests.access import jwt_making as making


def test_a_key_is_used_with_the_algorithms_of_its_type_alone() -> None:
    keys = from_jwks(making.jwks("rsa", "ec", "ed"))
    assert [key.kid for key in keys.fitting("RS256", None)] == ["rsa"]
    assert [key.kid for key in keys.fitting("PS512", None)] == ["rsa"]
    assert [key.kid for key in keys.fitting("ES256", None)] == ["ec"]
    assert [key.kid for key in keys.fitting("EdDSA", None)] == ["ed"]
    for algorithm in ("ES384", "none", "", *HMAC_ALGORITHMS):
        assert not keys.fitting(algorithm, None)


def test_a_key_that_names_its_algorithm_is_used_with_no_other() -> None:
    text = json.dumps({"keys": [making.jwk("rsa", alg="PS256")]})
    keys = from_jwks(text)
    assert keys.fitting("PS256", "rsa")
    assert not keys.fitting("RS256", "rsa")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kty": "oct", "k": "c2VjcmV0"}, "kty"),
        ({"kty": None}, "kty"),
        ({"kty": ["RSA"]}, "kty"),
        ({"key_ops": 7}, "signatures"),
        ({"use": "enc"}, "signatures"),
        ({"key_ops": ["encrypt"]}, "signatures"),
        ({"alg": "ES256"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"kid": 7}, "kid"),
        ({"d": "AQAB"}, "private"),
        ({"n": "!"}, "key 1"),
        ({"n": None}, "key 1"),
    ],
)
def test_a_key_that_does_not_fit_is_left_out(change: dict[str, Any], said: str) -> None:
    document = {"keys": [making.jwk("rsa", **change), making.jwk("ec")]}
    keys = from_jwks(json.dumps(document))
    assert [key.kid for key in keys.keys] == ["ec"]
    assert said in keys.warnings[0]
    with pytest.raises(KeySetError, match="no key that can be used"):
        from_jwks(json.dumps({"keys": document["keys"][:1]}))


def test_rsa_under_2048_bits_is_left_out() -> None:
    with pytest.raises(KeySetError, match="1024 bits"):
        from_jwks(making.jwks("weak"))
    with pytest.raises(KeySetError, match="1024 bits"):
        from_pem(making.pem("weak"))


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"[" * 3000, b"\xff", b"7"],
)
def test_what_is_no_jwks_says_so(text: bytes) -> None:
    with pytest.raises(KeySetError):
        from_jwks(text)


def test_a_pem_file_holds_several_public_keys_so_that_one_can_follow_another() -> None:
    both = from_pem(making.pem("ec") + b"The next one:\n" + making.pem("rsa"))
    assert both.fitting("ES256", "any")
    assert both.fitting("RS256", None)
    assert len({key.identity for key in both.keys}) == 2
    with pytest.raises(KeySetError, match="public key"):
        from_pem(making.pem("ec") + making.private_pem("ec"))
    with pytest.raises(KeySetError, match="at most 100"):
        from_pem(making.pem("ec") * 101)


def test_a_pem_file_holds_a_public_key_and_nothing_else() -> None:
    assert from_pem(making.pem("ec")).fitting("ES256", "any")
    for text in (making.private_pem("ec"), b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"):
        with pytest.raises(KeySetError) as caught:
            from_pem(text)
        assert "PRIVATE" not in str(caught.value)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(KeySetError, match="31 bytes"):
        from_secret(b"x" * 31)


def test_keys_of_the_same_name_have_identities_of_their_own() -> None:
    one = from_jwks(json.dumps({"keys": [making.jwk("rsa")]})).keys[0]
    other = from_jwks(json.dumps({"keys": [making.jwk("rsa-2", kid="rsa")]})).keys[0]
    assert one.kid == other.kid
    assert one.identity != other.identity
