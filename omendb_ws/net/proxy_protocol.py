"""The PROXY protocol, versions 1 and 2: a header before all else says where a client is.

Sans-I/O: bytes in, how many more may be read without reading beyond the header, then the address.
(What follows, TLS or a request, must stay in the socket for whoever reads that.) As the
specification of HAProxy has it; what it says beside the address (TLVs) is not read.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from ..access.peer import Peer
from ..access.proxies import parse_address

#: A line of version 1, with its CR and LF.
MOST_LINE_BYTES: Final = 107
#: A header of version 2: the addresses of two Unix sockets, and some TLVs.
MOST_BYTES: Final = 4096
SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD_BYTES: Final = 16
_LINE_START: Final = b"PROXY "
#: No line of version 1 is shorter: PROXY UNKNOWN.
_LEAST_LINE_BYTES: Final = 15
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
#: Of what has no address for us (unspecified, Unix sockets), as long as its addresses are.
_WITHOUT: Final = {0x00: 0, 0x31: 216}
_MOST_PORT: Final = 65_535


class ProxyHeaderError(ValueError):
    """What comes is no header of the PROXY protocol; the message quotes nothing of it."""


class Source(NamedTuple):
    """The end of a header. ``peer`` None: the other end of the socket is the client."""

    peer: Peer | None


def read(data: bytes) -> int | Source:
    """What ``data``, the bytes so far, say; else how many more to read. ProxyHeaderError."""
    if not data:
        return len(SIGNATURE)
    if data[:1] == SIGNATURE[:1]:
        return _read_2(data)
    return _read_1(data)


def _read_1(data: bytes) -> int | Source:
    if not _LINE_START.startswith(data[: len(_LINE_START)]):
        raise ProxyHeaderError("it does not begin with a PROXY header")
    end = data.find(b"\n")
    if end < 0:
        if len(data) >= MOST_LINE_BYTES:
            raise ProxyHeaderError(f"its PROXY line is longer than {MOST_LINE_BYTES} bytes")
        # The end is CR LF: where no CR has come yet, there are two bytes to come at least.
        least = 1 if data.endswith(b"\r") else 2
        return max(_LEAST_LINE_BYTES - len(data), least)
    if end + 1 > MOST_LINE_BYTES:
        raise ProxyHeaderError(f"its PROXY line is longer than {MOST_LINE_BYTES} bytes")
    if end + 1 != len(data) or data[end - 1 : end] != b"\r":
        raise ProxyHeaderError("its PROXY line does not end with CR and LF")
    return Source(_of_line(data[:-2]))


def _of_line(line: bytes) -> Peer | None:
    try:
        parts = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyHeaderError("its PROXY line is no ASCII") from None
    if parts[1] == "UNKNOWN":
        return None
    if len(parts) != 6 or parts[1] not in ("TCP4", "TCP6"):
        raise ProxyHeaderError("its PROXY line is not made of a protocol, addresses and ports")
    version = 4 if parts[1] == "TCP4" else 6
    peer, _ = _peer(parts[2], parts[4], version), _peer(parts[3], parts[5], version)
    return peer


def _peer(host: str, port: str, version: int) -> Peer:
    is_port = port.isdigit() and (port == "0" or port[0] != "0") and int(port) <= _MOST_PORT
    is_right = (":" in host) == (version == 6)
    address = parse_address(host) if is_right else None
    if address is None or not is_port:
        raise ProxyHeaderError("its PROXY line has an address or port that is none")
    return Peer(str(address), int(port))


def _read_2(data: bytes) -> int | Source:
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise ProxyHeaderError("it does not begin with a PROXY header")
    if len(data) < _HEAD_BYTES:
        return _HEAD_BYTES - len(data)
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("its PROXY header has another version or command")
    if _HEAD_BYTES + length > MOST_BYTES:
        raise ProxyHeaderError(f"its PROXY header is longer than {MOST_BYTES} bytes")
    missing = _HEAD_BYTES + length - len(data)
    if missing > 0:
        return missing
    return Source(None if command == _LOCAL else _of_addresses(family, data[_HEAD_BYTES:]))


def _of_addresses(family: int, data: bytes) -> Peer | None:
    least = {_TCP4: 12, _TCP6: 36, **_WITHOUT}.get(family)
    if least is None:
        raise ProxyHeaderError("its PROXY header is of another protocol than TCP")
    if len(data) < least:
        raise ProxyHeaderError("its PROXY header is too short for its addresses")
    if family in _WITHOUT:
        return None
    size = 4 if family == _TCP4 else 16
    address = parse_address(str(ipaddress.ip_address(data[:size])))
    port = int.from_bytes(data[2 * size : 2 * size + 2], "big")
    return Peer(str(address), port)
