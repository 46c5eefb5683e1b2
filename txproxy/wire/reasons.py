"""What is to be known of statuses (RFC 9110 section 15): the phrases of those that we send, and whom they are for."""

from __future__ import annotations

from http import HTTPStatus

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

OF_ONE_REQUEST = frozenset((206, 304, 401, 407, 408, 412, 416, 417, 431))
"""Statuses that answer range, condition, credentials or size of one request, of which a cache's key tells nothing."""


def reason_phrase(status: int) -> bytes:
    """Return the usual phrase of a status, or an empty one."""
    return _PHRASES.get(status, b"")
