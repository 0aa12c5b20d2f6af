"""The gate: who a token is, by the keys of the moment, and what to say of one that is nobody's.

Holds the API keys and the keys of JSON Web Tokens; ``node/keys.py`` puts newer ones in. A token
with two dots is a JWT, any other an API key. Knows no file, no loop and no session.
"""

from __future__ import annotations

from dataclasses import dataclass

from .jwt_keys import KeySet
from .jwt_tokens import JwtRules, TokenRefused, is_jwt, verify
from .keyring import Keyring
from .principal import OPEN, Principal


@dataclass(frozen=True, slots=True)
class Refused:
    """A token that is nobody's: why, for the log. ``unknown_kid``: newer keys may know it."""

    reason: str
    unknown_kid: str | None = None


@dataclass(slots=True)
class Gate:
    """``is_open``: everybody may come in. ``jwt_keys`` None: there are none yet, or never."""

    is_open: bool = True
    keyring: Keyring | None = None
    jwt_keys: KeySet | None = None
    rules: JwtRules | None = None

    def look(self, token: str) -> Principal | Refused:
        """Who ``token`` is."""
        if self.is_open:
            return OPEN
        if is_jwt(token) and self.rules is not None:
            if self.jwt_keys is None:
                return Refused("there are no keys for JSON Web Tokens yet")
            try:
                return verify(token, self.jwt_keys, self.rules)
            except TokenRefused as refused:
                return Refused(str(refused), refused.kid)
        found = self.keyring.authenticate(token) if self.keyring is not None else None
        return found or Refused("the token is not known")

    def again(self, principal: Principal) -> Principal | None:
        """The principal with the grants of now; None if its key is gone.

        A token's grants stand in itself: it stays what it is for as long as its key is there.
        """
        if self.is_open:
            return OPEN if principal.source == OPEN.source else None
        if principal.source.startswith("jwt:"):
            identity = principal.source.removeprefix("jwt:")
            keys = self.jwt_keys.keys if self.jwt_keys is not None else ()
            return principal if any(key.identity == identity for key in keys) else None
        return self.keyring.of_source(principal.source) if self.keyring is not None else None
