"""Bounds of what a peer may send before it is understood."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Limits of one message head, in bytes; what is equal to a limit passes."""

    line_bytes: int = 8192
    """The request line or status line without its CRLF; nginx's large_client_header_buffers hold as much."""
    section_bytes: int = 32768
    """All field lines with their CRLFs."""
    field_bytes: int = 16384
    """One field line without its CRLF."""
    fields: int = 128
    head_bytes: int = field(init=False)
    """The most that a head can hold: a line, a section, and the CRLFs of the line and of the end."""
    small_bytes: int = field(init=False)
    """A head of no more than this cannot be over any limit but that of the number of fields."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_bytes", self.line_bytes + self.section_bytes + 4)
        object.__setattr__(self, "small_bytes", min(self.line_bytes, self.section_bytes, self.field_bytes))


REPLY_LIMITS = HeadLimits(line_bytes=8192, section_bytes=65536, field_bytes=32768, fields=256)
"""For backends, who are trusted more than clients and set large cookies; nginx's default is an eighth of it."""

MAX_TRAILER_BYTES = 8192
"""Trailer sections are rare and short: gRPC's are under 1 KiB."""

MAX_LEADING_BYTES = 4
"""Two empty lines may precede a request line (RFC 9112 section 2.2 asks for one); more is garbage."""
