"""Keys that verify JSON Web Tokens: out of a JWKS, a PEM public key, or a shared secret (RFC 7517).

What a key may be used for is decided here, once, by the key itself and never by a token: its
algorithms follow from its type and curve, and from ``alg`` where it says one. Needs PyJWT and
``cryptography`` (the extra ``jwt``), imported where they are used. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

MIN_RSA_BITS: Final = 2048
MIN_SECRET_BYTES: Final = 32
#: Keys of one set that are looked at.
MAX_KEYS: Final = 100
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
HMAC_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
_CURVE_NAMES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
SIGNATURE_ALGORITHMS: Final = (*RSA_ALGORITHMS, *_CURVE_NAMES.values(), "EdDSA")


class KeySetError(ValueError):
    """Keys that cannot be read; the message says which and why."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """``key``: a public key of ``cryptography``, or bytes; used with ``algorithms`` alone.

    ``identity`` tells it from every other key, also from one of the same ``kid``.
    """

    kid: str | None
    algorithms: tuple[str, ...]
    key: Any
    identity: str


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one source; ``warnings`` name those that were left out."""

    keys: tuple[VerifyingKey, ...]
    warnings: tuple[str, ...] = ()

    def fitting(self, algorithm: str, kid: str | None) -> tuple[VerifyingKey, ...]:
        """The keys that may verify a token of this header; with a ``kid`` those of it alone."""
        return tuple(
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.kid in (kid, None))
        )

    def has(self, kid: str) -> bool:
        """Whether a key is named so, or one without a name may be meant."""
        return any(key.kid in (kid, None) for key in self.keys)


def refuse_repeated(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which no key stands twice (RFC 7515 section 4). ValueError."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} stands twice")
        found[name] = value
    return found


def from_jwks(text: bytes | str) -> KeySet:
    """The keys of a JWKS that can be used. KeySetError if there is none."""
    try:
        document = json.loads(text, object_pairs_hook=refuse_repeated)
    except (ValueError, RecursionError) as error:
        raise KeySetError(f"is not a JWKS: {error}") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError('is not a JWKS: it has no list "keys"')
    found: list[VerifyingKey] = []
    warnings: list[str] = []
    for place, entry in enumerate(entries[:MAX_KEYS]):
        try:
            found.append(_from_jwk(entry))
        except KeySetError as error:
            warnings.append(f"key {place + 1} is left out: {error}")
    if not found:
        raise KeySetError("; ".join(["has no key that can be used", *warnings]))
    return KeySet(tuple(found), tuple(warnings))


def from_pem(text: bytes) -> KeySet:
    """The public keys of a PEM file, of which it holds one or several. KeySetError."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    begin = b"-----BEGIN "
    blocks = text.split(begin)[1:]
    if len(blocks) > MAX_KEYS:
        raise KeySetError(f"has {len(blocks)} keys; there may be at most {MAX_KEYS}")
    found = []
    for block in blocks or [b""]:
        try:
            key = load_pem_public_key(begin + block)
        except Exception:
            # A private key, a certificate or anything else: what is in it is not to be shown.
            raise KeySetError("is not a PEM public key (BEGIN PUBLIC KEY)") from None
        found.append(VerifyingKey(None, _algorithms_of(key), key, _fingerprint(key)))
    return KeySet(tuple(found))


def from_secret(secret: bytes) -> KeySet:
    """A secret that tokens are signed with by HMAC. KeySetError if it is short."""
    if len(secret) < MIN_SECRET_BYTES:
        raise KeySetError(f"has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed")
    identity = "secret-" + hashlib.sha256(secret).hexdigest()[:16]
    return KeySet((VerifyingKey(None, HMAC_ALGORITHMS, secret, identity),))


def _from_jwk(entry: Any) -> VerifyingKey:
    from jwt import algorithms
    from jwt.exceptions import PyJWTError

    if not isinstance(entry, dict):
        raise KeySetError("it is no object")
    kind, kid, alg = entry.get("kty"), entry.get("kid"), entry.get("alg")
    readers = {
        "RSA": algorithms.RSAAlgorithm.from_jwk,
        "EC": algorithms.ECAlgorithm.from_jwk,
        "OKP": algorithms.OKPAlgorithm.from_jwk,
    }
    if not isinstance(kind, str) or kind not in readers:
        raise KeySetError("its kty is not RSA, EC or OKP")
    if kid is not None and not isinstance(kid, str):
        raise KeySetError("its kid is no string")
    if "d" in entry:
        raise KeySetError("it holds a private key")
    uses = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise KeySetError("it is not for signatures")
    try:
        key = readers[kind](entry)
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise KeySetError(str(error) or type(error).__name__) from None
    fitting = _algorithms_of(key)
    if alg is not None and alg not in fitting:
        raise KeySetError("its alg does not fit its kty")
    identity = f"{kid or ''}-{_fingerprint(key)}"
    return VerifyingKey(kid, fitting if alg is None else (alg,), key, identity)


def _algorithms_of(key: Any) -> tuple[str, ...]:
    """What signatures a public key may verify. KeySetError if none, or if it is weak."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeySetError(f"RSA of {key.key_size} bits; at least {MIN_RSA_BITS} are needed")
        return RSA_ALGORITHMS
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_NAMES:
        return (_CURVE_NAMES[key.curve.name],)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ("EdDSA",)
    raise KeySetError("a key of this type or curve verifies no token")


def _fingerprint(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(raw).hexdigest()[:16]
