"""JSON Web Tokens: a token that verifies becomes a Principal (RFC 7519, RFC 8725).

PyJWT verifies signatures and times; what it leaves open is refused before: base64url that is not
strict, keys of JSON that stand twice, critical headers, algorithms that are not the server's, keys
that do not fit. ``jku``, ``x5u`` and ``jwk`` of a header are never looked at. Pure, but for the
clock that PyJWT reads.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .grants import Grant, GrantError, parse_grants
from .jwt_keys import KeySet, VerifyingKey, refuse_repeated
from .principal import Principal
from .roles import Roles, granted, not_granted

MAX_TOKEN_BYTES: Final = 8 * 1024
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SUBJECT_LENGTH: Final = 256
_MAX_ROLES: Final = 64


class TokenRefused(Exception):
    """A token that is nobody's; the message says why, for the log alone.

    ``kid``: the key that it names and the set does not have.
    """

    def __init__(self, reason: str, kid: str | None = None) -> None:
        super().__init__(reason)
        self.kid = kid


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What tokens must be like, and what their claims mean (PROTOCOL section 9)."""

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: str | None = None
    leeway_seconds: float = 30.0
    tenant_claim: str = "tenant"
    grants_claim: str = "omendb"
    roles_claim: str | None = None
    roles: Roles = field(default_factory=dict)


def is_jwt(token: str) -> bool:
    """Whether a token is meant as a JWT: API keys have no two dots."""
    return token.count(".") == 2


def verify(token: str, keys: KeySet, rules: JwtRules) -> Principal:
    """Who a token is. TokenRefused."""
    import jwt

    header, claims = _unverified(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        raise TokenRefused("its algorithm is not among jwt_algorithms")
    if "crit" in header or header.get("b64", True) is not True:
        raise TokenRefused("its header is critical of something that this server does not know")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise TokenRefused("its kid is no string")
    _check_times(claims)
    fitting = keys.fitting(algorithm, kid)
    if not fitting:
        unknown = kid if kid is not None and not keys.has(kid) else None
        raise TokenRefused("no key fits its kid and algorithm", unknown)
    reason = "its signature is wrong"
    for key in fitting:
        try:
            found = _decoded(token, key, algorithm, rules)
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError:
            reason = "it has expired"
            break
        except jwt.PyJWTError as error:
            reason = str(error)
            break
        return _principal(found, key, rules)
    raise TokenRefused(reason)


def roles_not_granted(token: str, rules: JwtRules) -> list[tuple[str, str | None]]:
    """Of a token that was verified: what its roles do not grant, and why; see ``not_granted``."""
    _, claims = _unverified(token)
    return not_granted(rules.roles, _roles(claims, rules), claims)


def _decoded(token: str, key: VerifyingKey, algorithm: str, rules: JwtRules) -> dict[str, Any]:
    import jwt

    return jwt.decode(
        token,
        key.key,
        algorithms=[algorithm],
        audience=rules.audience,
        issuer=rules.issuer,
        leeway=rules.leeway_seconds,
        options={"require": ["exp"], "verify_aud": rules.audience is not None},
    )


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, read strictly; nothing of them is to be believed yet."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefused(f"it is longer than {MAX_TOKEN_BYTES} bytes")
    segments = token.split(".")
    if len(segments) != 3:
        raise TokenRefused("it has not three segments")
    header, claims, _ = (_segment(one) for one in segments)
    return _object(header, "header"), _object(claims, "claims")


def _segment(text: str) -> bytes:
    """What a segment says; base64url has one way to say it (RFC 4648 section 3.5)."""
    if _SEGMENT.fullmatch(text):
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        if base64.urlsafe_b64encode(raw).rstrip(b"=") == text.encode():
            return raw
    raise TokenRefused("it is not strict base64url")


def _object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(raw, object_pairs_hook=refuse_repeated)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TokenRefused(f"its {name} are no JSON object whose keys stand once each")
    return found


def _check_times(claims: Mapping[str, Any]) -> None:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if name == "exp" and value is None:
            raise TokenRefused("it has no exp")
        if name in claims and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) < 2**53
            or not math.isfinite(value)
        ):
            raise TokenRefused(f"its {name} is no finite number")


def _principal(claims: Mapping[str, Any], key: VerifyingKey, rules: JwtRules) -> Principal:
    tenant = claims.get(rules.tenant_claim)
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise TokenRefused(f"its claim {rules.tenant_claim!r} is no tenant's name")
    subject = claims.get("sub", "")
    is_text = isinstance(subject, str) and subject.isprintable()
    if not is_text or len(subject) > _MAX_SUBJECT_LENGTH:
        raise TokenRefused(
            f"its sub is no text of at most {_MAX_SUBJECT_LENGTH} printable characters"
        )
    return Principal(
        name=f"jwt:{subject}",  # no key of a file has a colon in its name
        tenant=tenant,
        grants=_grants(claims, rules),
        expires_at=claims["exp"] + rules.leeway_seconds,
        source=f"jwt:{key.identity}",
    )


def _grants(claims: Mapping[str, Any], rules: JwtRules) -> tuple[Grant, ...]:
    """What the claims give: their own grants, then those of roles."""
    own: tuple[Grant, ...] = ()
    document = claims.get(rules.grants_claim)
    if document is not None and document != []:
        try:
            own = parse_grants(document, rules.grants_claim)
        except GrantError as error:
            raise TokenRefused(str(error)) from None
    return own + granted(rules.roles, _roles(claims, rules), claims)


def _roles(claims: Mapping[str, Any], rules: JwtRules) -> list[str]:
    """Of which roles somebody is."""
    if rules.roles_claim is None or (names := claims.get(rules.roles_claim)) is None:
        return []
    if isinstance(names, str):
        names = [names]
    if (
        not isinstance(names, list)
        or len(names) > _MAX_ROLES
        or not all(isinstance(name, str) for name in names)
    ):
        raise TokenRefused(f"its claim {rules.roles_claim!r} is no list of roles")
    return names
