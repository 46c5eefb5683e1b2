"""Character sets, tokens, authorities and lists of RFC 9110 and RFC 3986, on bytes.

Everything here answers yes or no, or splits; what a wrong answer means is decided by the callers.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ALPHANUMERIC = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

TOKEN_BYTES = b"!#$%&'*+-.^_`|~" + _ALPHANUMERIC
"""tchar (RFC 9110 section 5.6.2)."""

FIELD_VALUE_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""What a field value may hold: VCHAR, obs-text, SP and HTAB (RFC 9110 section 5.5)."""

OWS = b" \t"
"""Optional whitespace (RFC 9110 section 5.6.3): these two bytes only, never what Unicode calls a space."""

# RFC 3986 section 3.2.2: IP-literal, IPv4address or reg-name. Underscores stand in names of real machines,
# so that nginx and HAProxy accept them too. A comma may stand in a reg-name, but what has one is a list of hosts.
_AUTHORITY = re.compile(
    rb"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\]"
    rb"|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)


def is_token(value: bytes) -> bool:
    """Return whether ``value`` is a token (RFC 9110 section 5.6.2): not empty, tchar only."""
    return bool(value) and not value.translate(None, TOKEN_BYTES)


def is_field_value(value: bytes) -> bool:
    """Return whether ``value`` may stand in a field line (RFC 9110 section 5.5), obs-text included."""
    return not value.translate(None, FIELD_VALUE_BYTES)


@lru_cache(maxsize=1024)
def split_authority(value: bytes) -> tuple[bytes, int | None] | None:
    """Split ``host[:port]`` (RFC 3986 section 3.2, without userinfo).

    The answers are kept for the last 1024 values: a proxy sees the same few hosts again and again.

    :return: the host in lower case without a trailing dot, and the port or None; None if it is not valid.
    """
    found = _AUTHORITY.fullmatch(value)
    if found is None:
        return None
    host = found["host"].lower()
    port = int(found["port"]) if found["port"] else None
    if port is not None and port > 65535:
        return None
    if len(host) > 1 and host.endswith(b"."):
        host = host[:-1]
    return host, port


def split_list(value: bytes) -> list[bytes]:
    """Return the lower-case members of a simple comma-separated list, empty ones left out (RFC 9110 section 5.6.1)."""
    return [member for part in value.split(b",") if (member := part.strip(OWS).lower())]
