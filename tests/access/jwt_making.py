"""Keys and tokens for tests, good ones and forged ones."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

GRANTS = [{"collections": ["*"], "rights": ["read"]}]


@cache
def private_key(name: str) -> Any:
    """A private key; the same one each time for a name (``rsa``, ``rsa-2``, ``weak``, …)."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    if name == "weak":
        return rsa.generate_private_key(65537, 1024)
    if name == "ed":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public half as a JWK whose kid is its name."""
    readers = {
        "r": jwt.algorithms.RSAAlgorithm,
        "w": jwt.algorithms.RSAAlgorithm,
        "e": jwt.algorithms.ECAlgorithm,
    }
    reader = jwt.algorithms.OKPAlgorithm if name == "ed" else readers[name[0]]
    found = reader.to_jwk(private_key(name).public_key(), as_dict=True)
    return {**found, "kid": name, **more}


def jwks(*names: str) -> bytes:
    return json.dumps({"keys": [jwk(name) for name in names]}).encode()


def pem(name: str) -> bytes:
    public: bytes = (
        private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def private_pem(name: str) -> bytes:
    private: bytes = private_key(name).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return private


def claims(**more: Any) -> dict[str, Any]:
    """Claims of a good token, changed by ``more``; None takes one away."""
    found = {"sub": "ann", "tenant": "acme", "exp": time.time() + 600, "omendb": GRANTS, **more}
    return {name: value for name, value in found.items() if value is not None}


def token(name: str = "rsa", *, header: dict[str, Any] | None = None, **more: Any) -> str:
    """A token signed with a key of ``private_key``."""
    algorithm = {"r": "RS256", "w": "RS256", "e": "ES256"}[name[0]] if name != "ed" else "EdDSA"
    return signed(claims(**more), private_key(name), algorithm, {"kid": name, **(header or {})})


def signed(document: dict[str, Any], key: Any, algorithm: str, header: dict[str, Any]) -> str:
    return jwt.encode(document, key, algorithm, {k: v for k, v in header.items() if v is not None})


def segment(document: Any) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def resigned(header: bytes, body: bytes, name: str = "rsa") -> str:
    """A token of these very bytes with a right RS256 signature."""
    signing_input = f"{segment(header)}.{segment(body)}"
    made = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        signing_input.encode(), private_key(name)
    )
    return f"{signing_input}.{segment(made)}"
