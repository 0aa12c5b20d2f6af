"""The keys behind the gate: read at the start, again when their files change, and fetched by URL.

What cannot be read or fetched changes nothing: the keys of before stay. Files are read and URLs
fetched on other threads; the gate changes on the loop's, in one step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ..access import jwks_url, jwt_keys
from ..access.audit import FAILED, OK, Audit
from ..access.gate import Gate
from ..access.jwt_keys import KeySet, KeySetError
from ..access.jwt_tokens import JwtRules
from ..access.keyring import KeyFileError, Keyring
from ..access.roles import parse_roles
from ..runtime.extras import needed
from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics
from .config import Settings

log = logging.getLogger(__name__)

#: Keys that a token names and nobody knows are looked for at most this often.
UNKNOWN_KID_SECONDS: Final = 10.0


def rules_of(settings: Settings) -> JwtRules | None:
    """What tokens must be like; None if none are taken."""
    given = (settings.jwt_keys, settings.jwt_jwks_url, settings.jwt_secret_file)
    if all(one is None for one in given):
        return None
    return JwtRules(
        algorithms=settings.jwt_algorithms,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_seconds=settings.jwt_leeway_seconds,
        tenant_claim=settings.jwt_tenant_claim,
        grants_claim=settings.jwt_grants_claim,
        roles_claim=settings.jwt_roles_claim,
        roles=parse_roles(settings.jwt_roles),
    )


def read_jwt_keys(settings: Settings) -> KeySet | None:
    """The keys in the file that the settings name; None if they name none. KeyFileError."""
    if rules_of(settings) is not None:
        _need_pyjwt()
    for name in ("jwt_keys", "jwt_secret_file"):
        path = getattr(settings, name)
        if path is None:
            continue
        try:
            with open(path, "rb") as file:
                data = file.read(jwks_url.MAX_BYTES + 1)
            if len(data) > jwks_url.MAX_BYTES:
                raise KeySetError(f"is longer than {jwks_url.MAX_BYTES >> 10} KiB")
            if name == "jwt_secret_file":
                return jwt_keys.from_secret(data.removesuffix(b"\n").removesuffix(b"\r"))
            is_pem = data.lstrip().startswith(b"-----BEGIN")
            return jwt_keys.from_pem(data) if is_pem else jwt_keys.from_jwks(data)
        except OSError as error:
            raise KeyFileError(f"{name} {path}: {error.strerror or error}") from None
        except KeySetError as error:
            raise KeyFileError(f"{name} {path}: {error}") from None
    return None


class Keys:
    """Keeps ``gate`` up to date. ``on_change`` is called on the loop when keys have changed."""

    def __init__(self, settings: Settings, metrics: Metrics, audit: Audit) -> None:
        self._settings = settings
        self._metrics = metrics
        self._audit = audit
        self._fetching: asyncio.Task[None] | None = None
        self._looked_at = -UNKNOWN_KID_SECONDS
        #: When keys were fetched last, or looked for first.
        self._fetched_at: float | None = None
        self.on_change: Callable[[], None] = lambda: None
        rules = rules_of(settings)
        self.gate = Gate(is_open=not settings.needs_tokens, rules=rules)
        self._take(self._read())

    @property
    def files(self) -> tuple[str, ...]:
        """The files that hold keys."""
        settings = self._settings
        named = (settings.api_key_file, settings.jwt_keys, settings.jwt_secret_file)
        return tuple(one for one in named if one is not None)

    @property
    def are_there(self) -> bool:
        """Whether the first keys by URL have come, where there is one."""
        return self._settings.jwt_jwks_url is None or self.gate.jwt_keys is not None

    def read(self) -> Callable[[], None]:
        """Read the files, on any thread; what then takes them, on the loop's. KeyFileError."""
        found = self._read()

        def take() -> None:
            self._take(found)
            self.on_change()

        return take

    def _read(self) -> tuple[Keyring | None, KeySet | None]:
        path = self._settings.api_key_file
        return (Keyring.load(path) if path else None), read_jwt_keys(self._settings)

    def _take(self, found: tuple[Keyring | None, KeySet | None]) -> None:
        keyring, key_set = found
        for source in found:
            for warning in source.warnings if source is not None else ():
                log.warning("%s", warning)
        self.gate.keyring = keyring
        if self._settings.jwt_jwks_url is None:
            self.gate.jwt_keys = key_set

    # -- by URL -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch keys by URL now and then; until the first ones are there, more often."""
        if self._settings.jwt_jwks_url is None:
            return
        self._fetched_at = asyncio.get_running_loop().time()
        while True:
            await self._fetch()
            seconds = self._settings.jwt_refresh_seconds
            await asyncio.sleep(seconds if self.are_there else min(UNKNOWN_KID_SECONDS, seconds))

    def overdue_seconds(self) -> float | None:
        """How much longer than they should no keys could be fetched; None where none are."""
        if self._fetched_at is None:
            return None
        age_seconds = asyncio.get_running_loop().time() - self._fetched_at
        return max(age_seconds - self._settings.jwt_refresh_seconds, 0.0)

    def newer(self) -> asyncio.Task[None] | None:
        """A fetch for a key that is not known; None: there was one just now, or there is no URL."""
        if self._settings.jwt_jwks_url is None:
            return None
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_at < UNKNOWN_KID_SECONDS:
            return None
        self._looked_at = loop.time()
        self._fetching = loop.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """``fetch``; after a fault the keys of before stay, and the next time may go well."""
        try:
            await self.fetch()
        except Exception as error:
            self._metrics.faults += 1
            as_error(error, "fetching keys")

    async def fetch(self) -> None:
        """Fetch keys by URL; what goes wrong is said, and the keys of before stay."""
        url = self._settings.jwt_jwks_url
        assert url is not None
        try:
            found = await asyncio.to_thread(jwks_url.fetch, url)
        except KeySetError as error:
            self._metrics.reload_failures += 1
            log.error("jwt_jwks_url %s %s", url, error)
            self._audit.enter("reload", FAILED, detail="jwt_jwks_url")
            return
        self._fetched_at = asyncio.get_running_loop().time()
        for warning in found.warnings:
            log.warning("jwt_jwks_url %s: %s", url, warning)
        before, self.gate.jwt_keys = self.gate.jwt_keys, found
        if before is None or before.keys != found.keys:
            log.info("%d keys for JSON Web Tokens", len(found.keys))
            self._audit.enter("reload", OK, detail="jwt_jwks_url")
            self.on_change()


def _need_pyjwt() -> None:
    try:
        import jwt  # noqa: F401
    except ImportError:
        raise KeyFileError(needed("JSON Web Tokens need", "jwt")) from None
