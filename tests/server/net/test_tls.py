"""TLS files: what works, and what is said about those that do not."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from omendb_ws.net.tls import TlsError, newer_certificate, server_context
from tests.certificates import Certificate, make_certificate


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


def test_two_pem_files_make_a_context_without_old_versions(certificate: Certificate) -> None:
    context = server_context(certificate.certificate_file, certificate.key_file)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_key_of_another_certificate_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    with pytest.raises(TlsError) as caught:
        server_context(certificate.certificate_file, other.key_file)
    said = str(caught.value)
    assert certificate.certificate_file in said
    assert other.key_file in said
    assert "key values mismatch" in said


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_files_that_are_no_pem_are_refused(
    certificate: Certificate, tmp_path: Path, content: str
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text(content)
    for files in ((str(bad), certificate.key_file), (certificate.certificate_file, str(bad))):
        with pytest.raises(TlsError) as caught:
            server_context(*files)
        assert str(bad) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_files_swapped_are_refused(certificate: Certificate) -> None:
    with pytest.raises(TlsError):
        server_context(certificate.key_file, certificate.certificate_file)


def test_an_encrypted_key_is_refused_without_asking_for_its_password(
    certificate: Certificate, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    with pytest.raises(TlsError, match="the key is encrypted"):
        server_context(certificate.certificate_file, str(encrypted))


def test_a_missing_file_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="No such file"):
        server_context(certificate.certificate_file, str(tmp_path / "missing.pem"))


def test_what_was_read_holds_whatever_the_files_have_become_since(
    certificate: Certificate, tmp_path: Path
) -> None:
    context = server_context(certificate.certificate_file, certificate.key_file)
    (tmp_path / "newer").mkdir()
    newer = make_certificate(tmp_path / "newer")
    use = newer_certificate(context, newer.certificate_file, newer.key_file)
    before, after = der(certificate), der(newer)
    Path(newer.certificate_file).write_text("half of the one that comes next")
    assert shown(context) == before
    use()
    assert shown(context) == after


def der(certificate: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(certificate.certificate_file).read_text())


def shown(context: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is shown."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(there, back, server_side=True)
    client = trusting.wrap_bio(back, there)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True)
