"""May a failed try be followed by another? Decided from facts alone."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from txproxy.errors import NoReply, ProxyError, Unprocessed

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods whose effect is the same once or twice (RFC 9110 section 9.2.2)."""


class RetrySettings(NamedTuple):
    """How often a request is tried, and how long is waited between."""

    tries: int = 3
    """Backends that are tried in all if connecting fails."""
    idempotent_tries: int = 2
    """Times in all that an idempotent request is sent, if a backend that has seen it does not answer."""
    budget: float = 0.2
    """Part of the requests of a cluster, 0 to 1, that may be sent again; see ``retry_budget``."""
    min_per_s: float = 3
    """Requests per second that may be sent again, whatever the budget."""
    backoff_min_s: float = 0.025
    backoff_max_s: float = 0.25
    body_bytes: int = 65536
    """How much of a body is kept so that it can be sent again."""


class Failure(NamedTuple):
    """What is known when a try has failed."""

    error: ProxyError
    method: bytes
    tries: int
    """Backends tried so far, this one included."""
    resent: int
    """Times that the request was sent again so far (``Kind.AGAIN``)."""
    reused: bool
    """The connection had been idle: the backend may have closed it meanwhile."""
    reply_begun: bool
    """At least one byte of a reply had come."""
    bytes_down: bool
    """A part of a reply, be it an interim one, was sent to the client."""
    body_held: bool
    """The request's body can be sent from its start; true of one that nothing was taken from yet."""
    replaced: bool
    """A connection was replaced before in this exchange."""


class Kind(Enum):
    """What to do after a failure."""

    REPLACE = "replace"
    """Ask the same backend on another connection, at once; it counts as no try and costs nothing of the budget."""
    ELSEWHERE = "elsewhere"
    """Ask a backend that was not tried yet, at once and outside the budget; without one, give up."""
    AGAIN = "again"
    """Ask another backend, or the same if there is no other, after the back-off and if the budget allows it."""
    GIVE_UP = "give-up"


class Decision(NamedTuple):
    """What to do after a failure, and for the log what spoke against a retry."""

    kind: Kind
    why: str = ""
    """``reply-begun``, ``not-idempotent``, ``tries`` or ``body-too-large``; nothing where none was to be thought of."""


_REPLACE = Decision(Kind.REPLACE)
_ELSEWHERE = Decision(Kind.ELSEWHERE)
_AGAIN = Decision(Kind.AGAIN)
_NO_RETRY = Decision(Kind.GIVE_UP)


def decide(failure: Failure, settings: RetrySettings) -> Decision:
    """Return what to do after a failed try.

    A backend that could not be reached has not seen the request, so any method may go elsewhere. One that says that it
    did nothing about it (RFC 9113 section 8.7) is asked once more on another connection; then it seems to have too much
    to do, so that whatever follows has to wait and to fit into the budget. What a backend may have seen goes out again
    only if it is idempotent (RFC 9110 section 9.2.2), and an idle connection that was closed as the request was sent on
    it is the usual case of that (RFC 9112 section 9.3.1).
    Once the client has seen a byte of a reply, nothing is tried again.
    """
    error = failure.error
    if not (error.retryable or error.resendable):
        return _NO_RETRY
    if failure.bytes_down:
        return Decision(Kind.GIVE_UP, "reply-begun")
    if isinstance(error, Unprocessed):
        decision, is_left = (_AGAIN, failure.tries < settings.tries) if failure.replaced else (_REPLACE, True)
    elif error.retryable:
        decision, is_left = _ELSEWHERE, failure.tries < settings.tries
    elif failure.method not in IDEMPOTENT:
        return Decision(Kind.GIVE_UP, "not-idempotent")
    elif failure.reused and not failure.reply_begun and not failure.replaced and isinstance(error, NoReply):
        decision, is_left = _REPLACE, True
    else:
        decision, is_left = _AGAIN, failure.resent < settings.idempotent_tries - 1
    if not is_left:
        return Decision(Kind.GIVE_UP, "tries")
    # Last, so that the size of a body is named only where it alone was in the way.
    return decision if failure.body_held else Decision(Kind.GIVE_UP, "body-too-large")


def backoff_s(settings: RetrySettings, random: Callable[[], float]) -> float:
    """Return how long to wait before a request is sent again, in seconds, anywhere between the bounds.

    :param random: returns a number from 0 to below 1.
    """
    return settings.backoff_min_s + random() * (settings.backoff_max_s - settings.backoff_min_s)
