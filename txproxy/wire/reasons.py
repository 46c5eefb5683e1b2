"""Reason phrases of the statuses that we send ourselves (RFC 9110 section 15)."""

from __future__ import annotations

from http import HTTPStatus

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def reason_phrase(status: int) -> bytes:
    """Return the usual phrase of a status, or an empty one."""
    return _PHRASES.get(status, b"")
