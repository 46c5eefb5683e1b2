"""Where a message head ends: in one piece as a rule, or gathered from many."""

from __future__ import annotations

import re

from txproxy.errors import BadRequest, HeadersTooLarge, ProxyError, UriTooLong
from txproxy.wire.limits import MAX_LEADING_BYTES, HeadLimits

END_OF_HEAD = b"\r\n\r\n"

# A line end that is not CRLF (RFC 9112 section 2.2), a CR at the very end of what came so far excepted.
BAD_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)(?!\Z)")


def check_sizes(head: bytes, limits: HeadLimits, line_error: type[ProxyError], section_error: type[ProxyError]) -> None:
    """Hold a head, whole or the part that has come so far, against its limits.

    :param head: from the first byte of its first line; the empty line at its end may be there or not.
    :raises line_error: if the first line is too long.
    :raises section_error: if the field section, one field, or the number of fields is too large.
    """
    line_end = head.find(b"\r\n")
    if (line_end if line_end >= 0 else len(head)) > limits.line_bytes:
        raise line_error(f"first line of over {limits.line_bytes} bytes")
    if line_end < 0:
        return
    section = head[line_end + 2 :].removesuffix(b"\r\n")
    if len(section) > limits.section_bytes:
        raise section_error(f"field section of over {limits.section_bytes} bytes")
    if section.count(b"\n") > limits.fields:
        raise section_error(f"more than {limits.fields} fields")
    if len(section) > limits.field_bytes and max(map(len, section.split(b"\r\n"))) > limits.field_bytes:
        raise section_error(f"a field of over {limits.field_bytes} bytes")


class HeadGatherer:
    """Gathers a head that comes in pieces, and refuses it as soon as it cannot become valid.

    :param limits: what the head may hold.
    :param error: raised for line ends that are not CRLF.
    :param line_error: raised for a first line over its limit.
    :param section_error: raised for a field section over its limits.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_limits",
        "_line_checked",
        "_line_error",
        "_line_has_ended",
        "_next_count",
        "_section_error",
        "_seen",
    )

    def __init__(
        self,
        limits: HeadLimits,
        error: type[ProxyError] = BadRequest,
        line_error: type[ProxyError] = UriTooLong,
        section_error: type[ProxyError] = HeadersTooLarge,
    ) -> None:
        self._limits = limits
        self._error = error
        self._line_error = line_error
        self._section_error = section_error
        self._buffer = bytearray()
        self._seen = 0
        self._next_count = min(limits.small_bytes, limits.section_bytes) + 1
        self._line_has_ended = False
        self._line_checked = False

    def seen(self, most: int) -> bytes:
        """Return the first bytes that have come, for whoever has to say what was refused.

        :param most: how many bytes at most.
        """
        return bytes(self._buffer[:most])

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take the next bytes.

        :return: the head up to and including its empty line, and what follows it; None if it is not complete.
        :raises ProxyError: one of the errors of the constructor.
        """
        buffer = self._buffer
        buffer += data
        end = buffer.find(END_OF_HEAD, max(0, self._seen - 3))
        if end >= 0:
            head = bytes(buffer[: end + 4])
            check_sizes(head, self._limits, self._line_error, self._section_error)
            return head, bytes(buffer[end + 4 :])
        if BAD_LINE_END.search(buffer, max(0, self._seen - 1)):
            raise self._error("a line that does not end in CRLF")
        self._seen = len(buffer)
        # Counting from the start again is done once per doubling, so that a head sent byte by byte costs no more than
        # a few of its own lengths; a line that has not ended needs no counting.
        if len(buffer) >= self._next_count or self._line_is_too_long():
            self._next_count = min(2 * len(buffer), self._limits.head_bytes + 1)
            # A CR at the end is half of a line end, not a part of the line.
            check_sizes(bytes(buffer).removesuffix(b"\r"), self._limits, self._line_error, self._section_error)
        return None

    def _line_is_too_long(self) -> bool:
        limit = self._limits.line_bytes
        if self._line_has_ended or len(self._buffer) <= limit + 1:
            return False
        self._line_has_ended = self._buffer.find(b"\r\n", 0, limit + 2) >= 0
        return not self._line_has_ended

    def first_line(self) -> bytes | None:
        """Return the first line once, as soon as it is complete, so that it can be judged before the fields come."""
        if self._line_checked:
            return None
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        self._line_checked = True
        return bytes(self._buffer[:end])


def skip_empty_lines(data: bytes) -> bytes:
    """Return ``data`` without the empty lines that may precede a request (RFC 9112 section 2.2).

    :raises BadRequest: if there are more of them than any client sends.
    """
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
        if start > MAX_LEADING_BYTES:
            raise BadRequest("empty lines before the request line")
    return data[start:]
