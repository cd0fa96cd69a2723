"""Addresses: whatever way one is written or wrapped, it is as public as what it leads to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.agents.http_addresses import AllowedNetworks, is_public, plain_host
from waybill_worker.agents.http_settings import HttpSettings

PRIVATE_BLOCKS = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "192.0.2.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
]  # fmt: skip
PRIVATE_BLOCKS_V6 = [
    "::/128", "::1/128", "fe80::/10", "fc00::/7", "fec0::/10", "ff00::/8", "2001:db8::/32", "2001::/32", "100::/64",
    "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "5f00::/16", "3fff::/20",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::8a"]


@st.composite
def private_v4(draw: st.DrawFn) -> IPv4Address:
    block = ip_network(draw(st.sampled_from(PRIVATE_BLOCKS)))
    return IPv4Address(draw(st.integers(int(block[0]), int(block[-1]))))


@st.composite
def private_v6(draw: st.DrawFn) -> IPv6Address:
    block = ip_network(draw(st.sampled_from(PRIVATE_BLOCKS_V6)))
    return IPv6Address(draw(st.integers(int(block[0]), int(block[-1]))))


def wrapped(address: IPv4Address) -> list[IPv6Address]:
    number = int(address)
    return [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80) | 1),
        IPv6Address((0x2606_4700 << 96) | (0x5EFE << 32) | number),
        IPv6Address((0x2606_4700 << 96) | (0x0200_5EFE << 32) | number),
        IPv6Address(number),
    ]


def spelled(address: IPv4Address, which: int) -> str:
    """One of the ways in which C reads an address."""
    number = int(address)
    a, b, c, d = address.packed
    return [
        f"{a}.{b}.{c}.{d}", str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}", f"0x{a:x}.0{b:o}.{c}.0x{d:x}", f"{hex(a)}.{number & 0xFFFFFF}",
    ][which]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_given_an_address_of_the_internet_when_asked_then_it_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(private_v4() | private_v6())
def test_given_an_address_of_a_special_block_when_asked_then_it_is_not_public(
    address: IPv4Address | IPv6Address,
) -> None:
    assert not is_public(address)


@given(private_v4())
def test_given_a_private_address_when_wrapped_in_another_then_that_is_not_public_either(address: IPv4Address) -> None:
    assert not any(is_public(outer) for outer in wrapped(address))


@given(private_v4(), st.integers(0, 7))
def test_given_any_spelling_that_the_system_reads_when_resolved_then_it_is_not_public(
    address: IPv4Address, which: int
) -> None:
    found = socket.getaddrinfo(spelled(address, which), 80, type=socket.SOCK_STREAM)

    assert [entry[4][0] for entry in found] == [str(address)]
    assert not is_public(ip_address(str(found[0][4][0])))


def test_given_a_zone_when_asked_then_no_address_with_one_is_public() -> None:
    assert not is_public(ip_address("2606:4700::1111%eth0"))


@given(private_v4(), st.integers(8, 32))
def test_given_an_allowed_network_when_asked_then_it_alone_is_allowed_also_in_its_wrapped_forms(
    address: IPv4Address, bits: int
) -> None:
    network = ip_network(f"{address}/{bits}", strict=False)
    allowed = AllowedNetworks.of([str(network)])

    assert allowed.allows("any.example", address)
    assert all(allowed.allows("any.example", outer) for outer in wrapped(address)[:3])
    for beside in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= beside < 2**32:
            assert allowed.allows("any.example", IPv4Address(beside)) == is_public(IPv4Address(beside))


def test_given_allowed_hosts_when_asked_then_names_are_compared_whole_whatever_their_spelling() -> None:
    allowed = AllowedNetworks.of(["wiki.corp.example", "*.build.example", "::1", "fd00::/8"])
    inside = ip_address("10.0.0.1")

    assert allowed.allows("WIKI.corp.example.", inside)
    assert allowed.allows("a.build.example", inside)
    assert not allowed.allows("build.example", inside)
    assert not allowed.allows("xwiki.corp.example", inside)
    assert not allowed.allows("wiki.corp.example.evil.example", inside)
    assert allowed.allows("other.example", ip_address("fd12::1"))
    assert not allowed.allows("other.example", ip_address("fe80::1"))
    assert plain_host("[::1]") == "::1"


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "http://a.example", "a b", "*", "*.", "10.0.0.0/33"])
def test_given_a_wrong_entry_when_set_then_the_worker_says_so(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", f"127.0.0.1, {entry}")

    with pytest.raises(ValueError, match="http_allowed_networks"):
        HttpSettings()


def test_given_a_file_of_authorities_that_is_not_there_when_set_then_the_worker_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_CA_FILE", "/nowhere/ca.pem")

    with pytest.raises(ValueError, match="http_ca_file"):
        HttpSettings()
