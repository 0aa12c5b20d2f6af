"""TLS for the server: two PEM files -> an SSL context, and when they are of no use any more."""

from __future__ import annotations

import _ssl
import ssl
from collections.abc import Callable
from functools import partial

from ..telemetry.metrics import Metrics


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


def authorities(file: str | None) -> ssl.SSLContext | None:
    """What other servers' certificates are verified by; None: what the machine trusts. TlsError."""
    if file is None:
        return None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:
        raise TlsError(f"authorities {file}: {_reason(error)}") from None


def newer_certificate(
    context: ssl.SSLContext, certificate_file: str, key_file: str
) -> Callable[[], None]:
    """Read the files again; what then has new connections use them. TlsError."""
    newer = server_context(certificate_file, key_file)

    def use(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = newer

    # To load into the context that is in use would read files that may have changed since.
    return partial(setattr, context, "sni_callback", use)


def expires_at(certificate_file: str) -> float:
    """When the first certificate of a file expires, as a Unix time. TlsError."""
    try:
        # The private half of ``getpeercert``: nothing else here reads a certificate without a
        # connection, and a library for it would be one more to install.
        found = _ssl._test_decode_cert(certificate_file)  # type: ignore[attr-defined]
        return float(ssl.cert_time_to_seconds(found["notAfter"]))
    except (OSError, ValueError) as error:
        raise TlsError(f"TLS certificate {certificate_file}: {_reason(error)}") from None


class WatchedTls:
    """The context in use, and ``newer`` when its files change. TlsError."""

    def __init__(self, certificate_file: str, key_file: str, metrics: Metrics) -> None:
        self._files = certificate_file, key_file
        self._metrics = metrics
        self.context = server_context(certificate_file, key_file)
        metrics.certificate_expires_at = expires_at(certificate_file)

    def newer(self) -> Callable[[], None]:
        """Read the files again, on any thread; what then uses them, on the loop's. TlsError."""
        use = newer_certificate(self.context, *self._files)
        until = expires_at(self._files[0])

        def take() -> None:
            use()
            self._metrics.certificate_expires_at = until

        return take


def _no_password() -> str:
    raise ValueError("the key is encrypted; a key without a passphrase is needed")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "not PEM files with a certificate and a key").lower()
        return reason.replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
