"""Fetching a JWKS: https only, bounded in size and time, no redirects. Blocks; knows no loop."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import IO, Any, Final
from urllib.parse import urlsplit

from .jwt_keys import KeySet, KeySetError, from_jwks
from .origins import is_loopback

MAX_BYTES: Final = 256 << 10
#: The whole fetch; a provider that takes longer is down.
TIMEOUT_SECONDS: Final = 5.0
_TYPES: Final = ("application/json", "application/jwk-set+json")
_CHUNK_BYTES: Final = 16 << 10


def is_fit_for_keys(url: str) -> bool:
    """Whether nobody on the way could put his own keys into what ``url`` answers."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def fetch(url: str) -> KeySet:
    """The keys at ``url``. KeySetError, whatever is wrong."""
    until = time.monotonic() + TIMEOUT_SECONDS
    opener = urllib.request.build_opener(_NoRedirects)
    request = urllib.request.Request(url, headers={"Accept": ", ".join(_TYPES)})
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            kind = response.headers.get_content_type()
            if kind not in _TYPES:
                raise KeySetError(f"is answered as {kind}, not as {_TYPES[0]}")
            return from_jwks(_bounded(response, until))
    except KeySetError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise KeySetError(f"is answered with status {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise KeySetError(f"cannot be fetched: {_reason(error)}") from None


def _bounded(response: IO[bytes], until: float) -> bytes:
    """All that is answered; who sends a byte a second is given up as well."""
    found = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
        found += chunk
        if len(found) > MAX_BYTES:
            raise KeySetError(f"is answered with more than {MAX_BYTES >> 10} KiB")
        if time.monotonic() > until:
            raise KeySetError(f"took longer than {TIMEOUT_SECONDS:g} s")
    return bytes(found)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return str(inner) or type(inner).__name__


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys are where the setting says, or nowhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> Any:
        return None
