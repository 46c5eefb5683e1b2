"""Cookies of a request (RFC 6265 section 5.4)."""

from __future__ import annotations

from txproxy.wire.fields import Field
from txproxy.wire.grammar import OWS


def cookie_of(fields: list[Field], name: bytes) -> bytes | None:
    """Return the value of a request's cookie, or None if it has none of this name.

    The first one counts: user agents send the one with the longest path first. Quotes are part of the value (RFC 6265
    section 4.1.1).

    :param fields: of the request; there may be several Cookie fields.
    :param name: in its own case.
    """
    for field_name, value in fields:
        # What is quickly seen is looked at first: every field of a request comes by here.
        if len(field_name) == 6 and name in value and field_name.lower() == b"cookie":
            for pair in value.split(b";"):
                found, equals, text = pair.partition(b"=")
                if found.strip(OWS) == name and equals:
                    return text.strip(OWS)
    return None
