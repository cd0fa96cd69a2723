"""Which addresses the agent `http` may connect to: public ones, and what the operator allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by the customers of a carrier
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet. An address that carries another one is as public as that.

    The lists are those of IANA's registries of special purposes; Python's own `is_global` calls multicast global, and
    differs between its versions.
    """
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    carried = carried_by(address)
    if carried is not None and not is_public(carried):
        return False
    if address in _MAPPED or address in _NAT64:
        return True
    return address in _GLOBAL_UNICAST and not any(address in block for block in _NOT_PUBLIC_V6)


def carried_by(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end at: mapped, behind a translator (NAT64), or tunnelled."""
    number = int(address)
    if address in _MAPPED or address in _NAT64 or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    if address in _6TO4:
        return IPv4Address((number >> 80) & 0xFFFF_FFFF)
    return None


def plain_host(host: str) -> str:
    """The host in the one form that lists are compared with: lower case, no dot at its end, no brackets."""
    return host.lower().removeprefix("[").removesuffix("]").removesuffix(".")


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """What an operator allows beside public addresses: networks, and hosts wherever their names lead."""

    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowedNetworks:
        """From addresses, networks as `10.1.0.0/16`, and host names, where `*.corp.example` is all below it.

        Raises ValueError for a network with bits behind its prefix, and for what is no host name.
        """
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in entries:
            if "/" in entry or _is_address(entry):
                networks.append(ipaddress.ip_network(entry))
            elif entry.replace("*.", "", 1).replace("-", "").replace("_", "").replace(".", "").isalnum():
                hosts.append(plain_host(entry))
            else:
                raise ValueError(f"{entry!r} is neither an address, nor a network, nor the name of a host")
        return cls(tuple(networks), tuple(hosts))

    def allows(self, host: str, address: Address) -> bool:
        """Whether a request to the host may connect to the address."""
        if is_public(address) or any(fnmatchcase(plain_host(host), allowed) for allowed in self.hosts):
            return True
        carried = carried_by(address) if isinstance(address, IPv6Address) else None
        # An address with a zone is compared without it: networks have none.
        plain = IPv6Address(int(address)) if isinstance(address, IPv6Address) else address
        return any(network.version == each.version and each in network for network in self.networks
                   for each in (plain, carried) if each is not None)  # fmt: skip


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
