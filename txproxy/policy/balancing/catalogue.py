"""Which balancing policies there are. This is the file to edit for a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from txproxy.policy.balancing.ewma import PeakEwma
from txproxy.policy.balancing.least_connections import LeastConnections
from txproxy.policy.balancing.lottery import PowerOfTwo, WeightedRandom
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.balancing.ring import RingHash
from txproxy.policy.balancing.round_robin import RoundRobin
from txproxy.policy.balancing.users import UsersPolicy

_MAKERS: dict[str, Callable[[str], Policy]] = {
    "round_robin": lambda hash_key: RoundRobin(),
    "weighted_round_robin": lambda hash_key: RoundRobin(),
    "least_connections": lambda hash_key: LeastConnections(),
    "ip_hash": lambda hash_key: RingHash("client"),
    "random": lambda hash_key: WeightedRandom(),
    "p2c": lambda hash_key: PowerOfTwo(),
    "ewma": lambda hash_key: PeakEwma(),
    "ring_hash": lambda hash_key: RingHash(hash_key),
}

POLICIES = tuple(_MAKERS)
"""Names of the policies that we bring, as the configuration has them."""


def make_policy(
    name: str, hash_key: str = "client", functions: Mapping[str, Callable[..., Any]] | None = None
) -> Policy:
    """Return a policy for one cluster.

    :param name: one of ``POLICIES``, or a reference to a user's function or class (``module:name``).
    :param hash_key: what ``ring_hash`` hashes: ``client``, ``uri``, ``header:NAME`` or ``cookie:NAME``.
    :param functions: users' functions and classes by reference.
    :raises KeyError: there is neither such a policy nor such a function.
    """
    make = _MAKERS.get(name)
    if make is not None:
        return make(hash_key)
    found = (functions or {})[name]
    return UsersPolicy(name, found() if isinstance(found, type) else found)
