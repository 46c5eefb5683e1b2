"""Hashing: the same client, target, field or cookie goes to the same backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from txproxy.policy.balancing.policy import Random
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts
from txproxy.policy.hash_ring import HashRing, position_of
from txproxy.wire.cookies import cookie_finder

KeyOf = Callable[[RequestFacts], bytes]


class RingHash:
    """Consistent hashing of a part of the request.

    :param hash_key: ``client``, ``uri``, ``header:NAME`` or ``cookie:NAME``; a request without such a field or cookie,
        or with an empty one, goes by its client. Of several fields of the name the first counts.
    """

    def __init__(self, hash_key: str = "client") -> None:
        self._key_of = key_function(hash_key)
        self._candidates: tuple[Candidate, ...] = ()
        self._ring = HashRing()

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        """Return candidates in the order in which one request tries them; see ``Policy``."""
        if candidates is not self._candidates:
            self._ring.place(candidates)
            self._candidates = candidates
        return self._ring.order(position_of(self._key_of(request)))


def key_function(hash_key: str) -> KeyOf:
    """Return the function that takes the bytes to hash out of a request.

    :param hash_key: see ``RingHash``.
    :raises ValueError: if it is none of these.
    """
    kind, _, text = hash_key.partition(":")
    if hash_key == "client":
        return _client
    if hash_key == "uri":
        return _target
    name = text.encode("latin-1")
    if kind == "header" and name:
        return _header_key(name.lower())
    if kind == "cookie" and name:
        find = cookie_finder(name)
        return lambda request: find(request.head.fields) or _client(request)
    raise ValueError(f"{hash_key!r} is nothing to hash")


def _header_key(name: bytes) -> KeyOf:
    length = len(name)

    def key_of(request: RequestFacts) -> bytes:
        for spelled, value in request.head.fields:
            if len(spelled) == length and spelled.lower() == name:
                return value or _client(request)
        return _client(request)

    return key_of


def _client(request: RequestFacts) -> bytes:
    return request.client.encode()


def _target(request: RequestFacts) -> bytes:
    return request.head.target
