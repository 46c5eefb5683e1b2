"""What the addresses behind a name mean: which servers there are, when to ask again, and when after a failure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Member = tuple[str, ...]
"""The addresses of one server, IPv6 first."""

MOST_ADDRESSES = 256
"""Of each family; a name with more of them is a mistake or an attack."""
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 30.0


def sorted_addresses(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the IPv4 and the IPv6 addresses of servers: each once, in canonical form and numerical order.

    The order in which a name server gives them changes with each answer and means nothing. What no server can have
    (``0.0.0.0``, with which some name servers say that a name is blocked, and groups) is left out, as is what is no
    address, and of very many all but the lowest.

    :param texts: addresses of both families in any order.
    """
    v4: set[ipaddress.IPv4Address] = set()
    v6: set[ipaddress.IPv6Address] = set()
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.is_unspecified or address.is_multicast:
            continue
        if isinstance(address, ipaddress.IPv4Address):
            v4.add(address)
        else:
            v6.add(address)
    return (
        tuple(map(str, sorted(v4)[:MOST_ADDRESSES])),
        tuple(map(str, sorted(v6, key=lambda each: (int(each), str(each)))[:MOST_ADDRESSES])),
    )


def pair_addresses(previous: tuple[Member, ...], v4: tuple[str, ...], v6: tuple[str, ...]) -> tuple[Member, ...]:
    """Return the servers behind a name.

    A server that has addresses of both families has one of each, so there are as many servers as addresses of the
    family that has more: as far as both exist they are paired, the rest stand alone. DNS does not say which belong
    together; pairs that both still hold stay together, and what is left is paired in order.

    :param previous: the servers so far. Those that still hold come first and in their order, so that addresses that
        come back in another order change nothing.
    :param v4: all IPv4 addresses now, each once.
    :param v6: all IPv6 addresses now, each once.
    :return: for each server its addresses, IPv6 first.
    """
    places = {address: place for place, member in enumerate(previous) for address in member}
    free4, free6 = dict.fromkeys(v4), dict.fromkeys(v6)
    members: list[Member] = []
    for member in previous:
        if len(member) == 2 and member[0] in free6 and member[1] in free4:
            members.append(member)
            del free6[member[0]], free4[member[1]]

    def place(address: str) -> int:
        return places.get(address, len(previous))

    rest4, rest6 = sorted(free4, key=place), sorted(free6, key=place)
    paired = min(len(rest4), len(rest6))
    members += zip(rest6, rest4, strict=False)
    members += [(address,) for address in (*rest6[paired:], *rest4[paired:])]
    return tuple(sorted(members, key=lambda member: min(map(place, member))))


_LEAST_TTL_S = 0.1


def ttl_clamped(ttl_s: float, least_s: float, most_s: float) -> float:
    """Return after how many seconds a name is asked for again.

    :param ttl_s: how long the answer holds; may be 0 or without end.
    :param least_s: bounds for it; the lower one wins, and is a tenth of a second at least: nobody is to ask for ever.
    :param most_s: see ``least_s``.
    """
    return max(_LEAST_TTL_S, least_s, min(ttl_s, most_s))


def retry_delay_s(failures: int) -> float:
    """Return how many seconds to wait after failures to resolve a name: 1, doubled each time, at most 30.

    :param failures: how many there were in a row; at least 1.
    """
    return min(_FIRST_DELAY_S * 2.0 ** min(failures - 1, 10), _LONGEST_DELAY_S)
