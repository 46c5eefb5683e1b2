"""W3C Trace Context (https://www.w3.org/TR/trace-context/): who asks, and whether it is recorded."""

from __future__ import annotations

import re
from typing import NamedTuple

from txproxy.wire.fields import Field

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


class TraceParent(NamedTuple):
    """What a ``traceparent`` says; ids are in lower-case hexadecimal digits."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool
    """Whoever made it records the trace."""

    def write(self) -> bytes:
        """Return the value of the field."""
        return b"00-%b-%b-%b" % (self.trace_id, self.span_id, b"01" if self.is_sampled else b"00")


def parse_traceparent(value: bytes) -> TraceParent | None:
    """Return what the value of a field says, or None if it is not valid (sections 2.2.2 and 2.2.4)."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # Version ff is none; later versions may say more behind what the first one has.
    if version == b"ff" or (version == b"00" and more is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))


def take_traceparent(fields: list[Field]) -> tuple[TraceParent | None, list[Field]]:
    """Return who asks, and the fields of a request without ``traceparent``.

    Without a valid one, or with several, ``tracestate`` goes too (section 3.3).
    """
    values = [value for name, value in fields if len(name) == 11 and name.lower() == TRACEPARENT]
    parent = parse_traceparent(values[0]) if len(values) == 1 else None
    dropped = (TRACEPARENT,) if parent is not None else (TRACEPARENT, TRACESTATE)
    kept = [field for field in fields if field[0].lower() not in dropped]
    return parent, kept
