"""What both versions of HTTP do when it is not a backend that answers: replies of our own, and the end of its work."""

from __future__ import annotations

from txproxy.errors import ProxyError
from txproxy.exchange import Exchange, Reply
from txproxy.wire.fields import Field
from txproxy.wire.reasons import reason_phrase

NO_CONTENT = frozenset((204, 304))
"""Statuses of replies without content (RFC 9110 section 6.4.1)."""
HSTS = b"strict-transport-security"


def error_reply(exchange: Exchange, error: ProxyError) -> Reply:
    """Return the reply that tells a client of an error, and nothing of what is behind us.

    :param error: with a status.
    """
    fields: tuple[Field, ...] = ((b"Content-Type", b"text/plain; charset=utf-8"),)
    if error.status == 405:
        fields += ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)  # RFC 9110 section 15.5.6
    if error.retry_after_s:
        fields += ((b"Retry-After", b"%d" % error.retry_after_s),)
    text = b"%d %b\n%b\nRequest id: %b\n" % (
        error.status,
        reason_phrase(error.status),
        error.sentence.encode(),
        exchange.id,
    )
    return Reply(error.status, text, fields, error.end_reason)
