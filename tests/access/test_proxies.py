"""Which address a request has, by what proxies that are trusted wrote, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.access.peer import Peer
from omendb_ws.access.proxies import MOST_HOPS, TrustedProxies, parse_network

PROXY = Peer("10.0.0.1", 5000)
OURS = TrustedProxies.parse(["10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48"])

FOUND = {
    "": None,
    "198.51.100.7": Peer("198.51.100.7"),
    "198.51.100.7:4711": Peer("198.51.100.7", 4711),
    " 198.51.100.7\t": Peer("198.51.100.7"),
    '"198.51.100.7"': Peer("198.51.100.7"),
    "2001:db8::1": Peer("2001:db8::1"),
    "2001:DB8:0::1": Peer("2001:db8::1"),
    "[2001:db8::1]": Peer("2001:db8::1"),
    "[2001:db8::1]:4711": Peer("2001:db8::1", 4711),
    '"[2001:db8::1]:4711"': Peer("2001:db8::1", 4711),
    "::ffff:198.51.100.7": Peer("198.51.100.7"),
    "[::ffff:198.51.100.7]:80": Peer("198.51.100.7", 80),
    # The rightmost that is not ours: what is left of it, the client may have written.
    "203.0.113.9, 198.51.100.7": Peer("198.51.100.7"),
    "203.0.113.9, 198.51.100.7, 10.1.1.1": Peer("198.51.100.7"),
    "203.0.113.9,198.51.100.7,192.0.2.1,[2001:db8:ffff::5]:9": Peer("198.51.100.7"),
    "rubbish, 198.51.100.7": Peer("198.51.100.7"),
    ",,,198.51.100.7": Peer("198.51.100.7"),
    "10.0.0.1, 198.51.100.7": Peer("198.51.100.7"),
    "x" * 30_000 + ", 198.51.100.7": Peer("198.51.100.7"),
    "10.0.0.9," * 5000 + "198.51.100.7": Peer("198.51.100.7"),
    # Ours alone: the one that is furthest away.
    "10.9.9.9, 10.1.1.1": Peer("10.9.9.9"),
    "10.9.9.9:1, 10.1.1.1:2": Peer("10.9.9.9", 1),
    # What a proxy of ours wrote is no address: nothing is known but the proxy.
    "198.51.100.7,": None,
    "198.51.100.7, ": None,
    "198.51.100.7, rubbish": None,
    "198.51.100.7, unknown": None,
    "198.51.100.7, _hidden": None,
    "198.51.100.7, 10.1.1.1, rubbish, 10.1.1.2": None,
    "198.51.100.7, 256.1.1.1": None,
    "198.51.100.7, 1.2.3": None,
    "198.51.100.7, 01.2.3.4": None,
    "198.51.100.7:65536": None,
    "198.51.100.7:": None,
    "198.51.100.7:-1": None,
    "198.51.100.7:٣": None,
    "[198.51.100.7]": None,
    "[198.51.100.7]:80": None,
    "[2001:db8::1": None,
    "2001:db8::1]": None,
    "[2001:db8::1]:": None,
    "[[2001:db8::1]]": None,
    "fe80::1%eth0": None,
    "[fe80::1%25eth0]": None,
    '"198.51.100.7': None,
    '""': None,
    '"': None,
    "for=198.51.100.7": None,
    "198.51.100.7/32": None,
    "1.2.3.4" + " " * 64: None,
    "1" * 64: None,
    "10.0.0.9," * (MOST_HOPS + 1) + "10.0.0.9": None,
}


@pytest.mark.parametrize("header", FOUND, ids=lambda text: text[:40])
def test_the_address_is_the_rightmost_that_is_no_trusted_proxys(header: str) -> None:
    assert OURS.client(PROXY, [header]) == (FOUND[header] or PROXY)
    assert OURS.client(Peer("::ffff:10.0.0.1", 5), [header]) == (
        FOUND[header] or Peer("::ffff:10.0.0.1", 5)
    )


def test_lines_of_the_header_are_one_list_in_their_order() -> None:
    assert OURS.client(PROXY, ["203.0.113.9", "198.51.100.7"]) == Peer("198.51.100.7")
    assert OURS.client(PROXY, ["198.51.100.7", "10.1.1.1"]) == Peer("198.51.100.7")
    assert OURS.client(PROXY, []) == PROXY


@pytest.mark.parametrize("host", ["198.51.100.9", "2001:db8::7", "fe80::1%eth0", "unknown", ""])
def test_what_a_stranger_writes_himself_counts_for_nothing(host: str) -> None:
    peer = Peer(host, 7)
    for header in FOUND:
        assert OURS.client(peer, [header]) == peer
        assert TrustedProxies().client(PROXY, [header]) == PROXY


TRUSTED = {
    "10.255.0.1": True,
    "11.0.0.1": False,
    "192.0.2.1": True,
    "192.0.2.2": False,
    "2001:db8:ffff:1::2": True,
    "2001:db8:fffe::2": False,
    "::ffff:10.0.0.1": True,
    "::10.0.0.1": False,
}


@pytest.mark.parametrize("host", TRUSTED)
def test_networks_hold_their_addresses_and_no_others(host: str) -> None:
    assert OURS.trust(host) is TRUSTED[host]


def test_a_network_is_written_as_one() -> None:
    with pytest.raises(ValueError, match=r"'10.1.2.3/8' .* that network is 10.0.0.0/8"):
        parse_network("10.1.2.3/8")
    for text in (
        "",
        "10",
        "localhost",
        "10.0.0.0/33",
        "1.2.3.4/-1",
        "::/129",
        "fe80::%eth0/64",
        "fe80::1%x",
    ):
        with pytest.raises(ValueError, match="is no address and no network"):
            parse_network(text)


ADDRESSES = st.ip_addresses().filter(lambda one: not OURS.trust(str(one))).map(str)
TRUSTED_ADDRESSES = st.ip_addresses(network="10.0.0.0/8").map(str)


@given(st.text(max_size=200), ADDRESSES, st.lists(TRUSTED_ADDRESSES, max_size=MOST_HOPS - 1))
def test_whatever_a_client_sends_its_address_is_the_one_that_our_proxies_saw(
    sent: str, address: str, between: list[str]
) -> None:
    header = ", ".join([sent, address, *between])
    host = OURS.client(PROXY, [header]).host
    assert host == OURS.client(PROXY, [address]).host
    assert not OURS.trust(host)


@given(st.lists(st.text(max_size=80), max_size=4))
def test_no_header_is_too_strange(lines: list[str]) -> None:
    assert isinstance(OURS.client(PROXY, lines), Peer)
