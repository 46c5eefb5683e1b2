"""What may be done with a stored reply (RFC 9111 section 4, RFC 5861)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from txproxy.policy.caching.directives import RequestDirectives, ResponseDirectives
from txproxy.policy.caching.freshness import Freshness


class Kind(Enum):
    """What to do for a request that a stored reply matches."""

    FRESH = "fresh"
    """Send it."""
    STALE = "stale"
    """Send it, for the client takes it though it is stale."""
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    """Send it, and validate it behind the client's back."""
    VALIDATE = "validate"
    """Ask the backend whether it still holds, or for another."""
    GATEWAY_TIMEOUT = "gateway-timeout"
    """Answer 504: the client wants nothing that comes from further away (RFC 9111 section 5.2.1.7)."""


class Decision(NamedTuple):
    """What to do with a stored reply, and for the log and Cache-Status why it cannot just be sent."""

    kind: Kind
    reason: bytes = b""
    """``max-stale`` or ``stale-while-revalidate`` if it is sent though it is stale.

    Otherwise ``stale``, ``no-cache`` of the reply, or ``request-no-cache``, ``request-max-age`` or
    ``request-min-fresh``."""


_FRESH = Decision(Kind.FRESH)
_MAX_STALE = Decision(Kind.STALE, b"max-stale")
_WHILE_REVALIDATE = Decision(Kind.STALE_WHILE_REVALIDATE, b"stale-while-revalidate")


def decide(freshness: Freshness, said: ResponseDirectives, asked: RequestDirectives, now: float) -> Decision:
    """Return what may be done with a stored reply that was chosen for a request.

    :param said: the directives of the stored reply.
    :param asked: those of the request.
    :param now: seconds since the epoch.
    """
    if said.no_cache:
        return _ask(b"no-cache", asked)
    if asked.no_cache:
        return _ask(b"request-no-cache", asked)
    age_s = freshness.age_s(now)
    # A client that says 0 asks for validation, also in the very moment in which the reply came.
    if asked.max_age is not None and (age_s > asked.max_age or not asked.max_age):
        return _ask(b"request-max-age", asked)
    staleness_s = age_s - freshness.lifetime_s
    if asked.min_fresh is not None and -staleness_s < asked.min_fresh:
        return _ask(b"request-min-fresh", asked)
    if staleness_s < 0:
        return _FRESH
    return _decide_stale(staleness_s, said, asked)


def _decide_stale(staleness_s: float, said: ResponseDirectives, asked: RequestDirectives) -> Decision:
    if said.forbids_stale:
        return _ask(b"stale", asked)
    # A client that sets an age and does not say max-stale wants nothing stale (RFC 9111 section 5.2.1.1).
    takes_stale = asked.max_age is None or asked.max_stale is not None
    if takes_stale and said.stale_while_revalidate and staleness_s <= said.stale_while_revalidate:
        return _WHILE_REVALIDATE
    if asked.max_stale is not None and staleness_s <= asked.max_stale:
        return _MAX_STALE
    return _ask(b"stale", asked)


def _ask(reason: bytes, asked: RequestDirectives) -> Decision:
    return Decision(Kind.GATEWAY_TIMEOUT if asked.only_if_cached else Kind.VALIDATE, reason)


def may_send_on_error(freshness: Freshness, said: ResponseDirectives, asked: RequestDirectives, now: float) -> bool:
    """Return whether a stored reply may be sent where its backend fails (RFC 5861 section 4).

    That is so only if the reply or the request says for how long, whatever else the request says of age and freshness;
    RFC 9111 section 4.2.4 would leave more open to a cache that is cut off.

    :param now: seconds since the epoch.
    """
    if said.forbids_stale or asked.no_cache:
        return False
    spare_s = max(said.stale_if_error or 0, asked.stale_if_error or 0)
    return spare_s > 0 and freshness.staleness_s(now) <= spare_s
