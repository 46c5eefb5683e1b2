"""May a failed try be followed by another? Decided from facts alone."""

from __future__ import annotations

from typing import NamedTuple

from txproxy.errors import ProxyError

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods whose effect is the same once or twice (RFC 9110 section 9.2.2)."""


class Failure(NamedTuple):
    """What is known when a try has failed."""

    error: ProxyError
    method: bytes
    tries: int
    """Backends tried so far, this one included."""
    reused: bool
    """The connection had been idle: the backend may have closed it meanwhile."""
    reply_begun: bool
    """At least one byte of a reply had come."""
    body_held: bool
    """The request's body can be sent from its start."""
    replaced: bool
    """A dead idle connection was replaced before in this exchange."""


def may_try_another(failure: Failure, most_tries: int) -> bool:
    """Return whether another backend may be tried: only if this one cannot have seen the request.

    :param most_tries: in all, the first included.
    """
    return failure.error.retryable and failure.body_held and failure.tries < most_tries


def may_replace_connection(failure: Failure) -> bool:
    """Return whether the same backend may be asked again on a new connection.

    An idle connection may be closed just as a request is sent on it; nobody can know whether the backend has seen the
    request (RFC 9112 section 9.3.1), so only an idempotent one is sent again, and once.
    """
    return (
        failure.reused
        and not failure.reply_begun
        and not failure.replaced
        and failure.body_held
        and failure.method in IDEMPOTENT
    )
