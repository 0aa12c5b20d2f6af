"""TLS for the server: two PEM files -> an SSL context. Knows nothing of the rest."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial


class TlsError(ValueError):
    """TLS files that cannot be used; the message names them."""


def server_context(certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A context for ``serve``: TLS 1.2 or later. TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password callback OpenSSL would ask on the terminal for an encrypted key's.
        context.load_cert_chain(certificate_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TlsError(
            f"TLS certificate {certificate_file} with key {key_file}: {_reason(error)}"
        ) from None
    return context


def newer_certificate(
    context: ssl.SSLContext, certificate_file: str, key_file: str
) -> Callable[[], None]:
    """Read the files again; what then has new connections use them. TlsError."""
    newer = server_context(certificate_file, key_file)

    def use(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = newer

    # To load into the context that is in use would read files that may have changed since.
    return partial(setattr, context, "sni_callback", use)


def _no_password() -> str:
    raise ValueError("the key is encrypted; a key without a passphrase is needed")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "not PEM files with a certificate and a key").lower()
        return reason.replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
