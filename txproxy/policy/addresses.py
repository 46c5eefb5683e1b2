"""Whose address is believed: trusted proxies and the chain of X-Forwarded-For (RFC 7239 section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED_BITS = 96
"""Length of the prefix of IPv4-mapped addresses (RFC 4291 section 2.5.5.2)."""

UNIX_PEER = "unix"
"""What stands for the address of a peer on a unix socket, as in nginx."""

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """Return an address, an IPv4-mapped IPv6 one as IPv4; None if the text is not one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


class TrustedPeers:
    """The networks of our own proxies.

    :param networks: in CIDR notation; host bits may be set. ``unix`` among them stands for all on unix sockets.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        named = list(networks)
        self._includes_unix = UNIX_PEER in named
        self._networks = [_parse_network(network) for network in named if network != UNIX_PEER]

    def __bool__(self) -> bool:
        return bool(self._networks) or self._includes_unix

    def __contains__(self, address: str) -> bool:
        if address == UNIX_PEER:
            return self._includes_unix
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and self.includes(parsed)

    def includes(self, address: Address) -> bool:
        """Return whether an address belongs to one of the networks."""
        return any(address in network for network in self._networks)

    def client_of(self, peer: str, chain: bytes | None) -> str:
        """Return the address of the client: the last one in the chain that none of our proxies has.

        :param peer: who connected to us.
        :param chain: the value of X-Forwarded-For; it is looked at only if the peer is trusted.
        """
        client = peer
        if chain is None or peer not in self:
            return client
        for entry in reversed(chain.decode("latin-1").split(",")):
            address = _parse_entry(entry.strip())
            if address is None:
                break  # What cannot be read was not written by one of ours: nothing before it counts.
            client = str(address)
            if not self.includes(address):
                break
        return client


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text, strict=False)
    # Addresses are compared in their IPv4 form, so networks of mapped ones are brought into it too.
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _parse_entry(entry: str) -> Address | None:
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    # A zone means something on one machine only, and may be any text.
    return None if "%" in entry else parse_address(entry)
