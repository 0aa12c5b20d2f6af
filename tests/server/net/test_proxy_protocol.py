"""Headers of the PROXY protocol, cut, changed and too long: an address, or a refusal."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.access.peer import Peer
from omendb_ws.net.proxy_protocol import (
    MOST_BYTES,
    MOST_LINE_BYTES,
    SIGNATURE,
    ProxyHeaderError,
    Source,
    read,
)

REQUEST = b"GET /v1 HTTP/1.1\r\n\r\n"


def version_2(
    address: str | None,
    port: int = 4711,
    *,
    command: int = 0x21,
    rest: bytes = b"",
    family: int = 0,
) -> bytes:
    """A header of version 2 for a client at ``address``."""
    data = b""
    if address is not None:
        source = ipaddress.ip_address(address)
        family = family or (0x11 if source.version == 4 else 0x21)
        data = source.packed * 2 + struct.pack("!HH", port, 8765)
    data += rest
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(data)) + data


def taken(data: bytes) -> tuple[Source, bytes]:
    """What a socket that holds ``data`` says, and what is left in it. Read as ``intake`` does."""
    came = b""
    while isinstance(found := read(came), int):
        assert found > 0
        more = data[len(came) : len(came) + found]
        if not more:
            raise EOFError
        came += more
    return found, data[len(came) :]


GOOD = {
    b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 8765\r\n": Peer("198.51.100.7", 4711),
    b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n": Peer("1.1.1.1", 0),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 8765\r\n": Peer("2001:db8::7", 65535),
    b"PROXY TCP6 ::ffff:198.51.100.7 ::1 4711 8765\r\n": Peer("198.51.100.7", 4711),
    b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n": Peer(
        "ffff:" * 7 + "ffff", 65535
    ),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN what ever stands here\r\n": None,
    b"PROXY UNKNOWN " + b"x" * (MOST_LINE_BYTES - 16) + b"\r\n": None,
    version_2("198.51.100.7"): Peer("198.51.100.7", 4711),
    version_2("2001:db8::7"): Peer("2001:db8::7", 4711),
    version_2("::ffff:198.51.100.7"): Peer("198.51.100.7", 4711),
    version_2("198.51.100.7", rest=b"\x04\x00\x03abc"): Peer("198.51.100.7", 4711),
    version_2("198.51.100.7", rest=bytes(MOST_BYTES - 28)): Peer("198.51.100.7", 4711),
    version_2("198.51.100.7", command=0x20): None,  # a proxy looks whether this server is well
    version_2(None, command=0x20): None,
    version_2(None, command=0x20, rest=bytes(100), family=0xFF): None,
    version_2(None): None,
    version_2(None, rest=bytes(216), family=0x31): None,  # it was reached by a Unix socket
}


@pytest.mark.parametrize("header", GOOD, ids=lambda header: repr(header[:40]))
def test_a_header_is_read_to_its_last_byte_and_no_further(header: bytes) -> None:
    for rest in (b"", REQUEST, b"\n", b"\r\n", header, b"\x16\x03\x01"):
        assert taken(header + rest) == (Source(GOOD[header]), rest)


@pytest.mark.parametrize("header", GOOD, ids=lambda header: repr(header[:40]))
def test_a_header_that_is_cut_anywhere_waits_for_the_rest(header: bytes) -> None:
    for length in range(len(header)):
        wanted = read(header[:length])
        assert isinstance(wanted, int)
        assert 0 < wanted <= len(header) - length
        with pytest.raises(EOFError):
            taken(header[:length])


@pytest.mark.parametrize("header", GOOD, ids=lambda header: repr(header[:40]))
def test_a_header_with_a_byte_changed_is_refused_or_tells_something_that_is_one(
    header: bytes,
) -> None:
    for place in range(min(len(header), 60)):
        for bit in range(8):
            changed = bytearray(header)
            changed[place] ^= 1 << bit
            try:
                (peer,), rest = taken(bytes(changed) + REQUEST)
            except (ProxyHeaderError, EOFError):
                continue
            if peer is not None:
                assert str(ipaddress.ip_address(peer.host)) == peer.host
                assert peer.port is not None
                assert 0 <= peer.port <= 65535
            whole = bytes(changed) + REQUEST
            assert whole.endswith(rest)
            assert len(whole) - len(rest) <= MOST_BYTES


BAD = {
    "a request": REQUEST,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "small letters": b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "no CR": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
    "a CR too early": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 \r1\n",
    "another protocol": b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "no protocol": b"PROXY \r\n",
    "too few": b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
    "too many": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
    "two spaces": b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
    "a space at the end": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
    "IPv6 for IPv4": b"PROXY TCP4 ::1 ::1 1 1\r\n",
    "IPv4 for IPv6": b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
    "a name": b"PROXY TCP4 localhost 1.1.1.1 1 1\r\n",
    "no address of ours": b"PROXY TCP4 1.1.1.1 x 1 1\r\n",
    "a leading zero": b"PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
    "a large port": b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
    "a port of two zeros": b"PROXY TCP4 1.1.1.1 1.1.1.1 00 1\r\n",
    "a port with a sign": b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
    "no ASCII": "PROXY TCP4 1.1.1.1 1.1.1.1 ٣ 1\r\n".encode(),
    "too long a line": b"PROXY UNKNOWN " + b"x" * (MOST_LINE_BYTES - 15) + b"\r\n",
    "an endless line": b"PROXY UNKNOWN " + b"x" * 10_000,
    "version 1 in version 2": version_2("1.1.1.1", command=0x11),
    "version 3": version_2("1.1.1.1", command=0x31),
    "another command": version_2("1.1.1.1", command=0x22),
    "datagrams": version_2("1.1.1.1", family=0x12),
    "another family": version_2("1.1.1.1", family=0x41),
    "IPv6 too short": version_2("1.1.1.1", family=0x21),
    "a Unix address too short": version_2(None, rest=bytes(215), family=0x31),
    "no address at all": SIGNATURE + b"\x21\x11\x00\x00",
    "too long": version_2("1.1.1.1", rest=bytes(MOST_BYTES)),
    "much too long": SIGNATURE + b"\x21\x11\xff\xff" + bytes(0xFFFF),
    "LOCAL too long": SIGNATURE + b"\x20\x00\xff\xff" + bytes(0xFFFF),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused_without_being_quoted(name: str) -> None:
    with pytest.raises(ProxyHeaderError) as caught:
        taken(BAD[name])
    said = str(caught.value)
    assert said.isascii()
    assert "1.1.1.1" not in said


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: SIGNATURE + data))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    try:
        source, rest = taken(data)
    except (ProxyHeaderError, EOFError):
        return
    assert len(data) - len(rest) <= MOST_BYTES
    assert source.peer is None or ipaddress.ip_address(source.peer.host)
