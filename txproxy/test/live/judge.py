"""A strict judge of what a backend received: its own reading of RFC 9112, sharing no code with the proxy.

The proxy may be lenient with nobody on the way to a backend, so the judge is not either: every message must be
HTTP/1.1 as RFC 9112 writes it, down to the byte, and whatever is not is a violation with its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_LINE = re.compile(rb"([^ ]+) ([^ ]+) (HTTP/[0-9]\.[0-9])")
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# RFC 3986 appendix A allows less, but every server is sent quotes, braces and bars by browsers; nothing splits there.
_BAD_IN_TARGET = re.compile(rb"[^\x21-\x7e]|#|%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_EXTENSION = rb"[\t ]*;[\t ]*" + _TOKEN.pattern + rb"(?:[\t ]*=[\t ]*(?:" + _TOKEN.pattern + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + _EXTENSION + rb")*)")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_FORBIDDEN_TRAILERS = frozenset(
    b"content-length transfer-encoding host connection te trailer content-encoding authorization cookie".split()
)
_MAX_LINE = 1 << 20


@dataclass(slots=True)
class JudgedRequest:
    """One request as a backend received it."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    framing: str
    """How its body is delimited: ``"none"``, ``"length"`` or ``"chunked"``."""
    length: int = 0
    """Bytes that Content-Length declares; 0 otherwise."""
    body: bytes = field(default=b"", repr=False)
    """The body without its framing; cut at the judge's limit, see ``body_length``."""
    body_length: int = 0
    body_sha256: str = ""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return all values of a field in order; ``name`` in any case."""
        return [value for spelled, value in self.fields if spelled.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """Return the only value of a field, None if it is absent, or fail if it stands there twice."""
        values = self.values(name)
        assert len(values) <= 1, f"{name!r} stands there {len(values)} times: {values!r}"
        return values[0] if values else None


class Judge:
    """Reads the bytes of one connection, piece by piece.

    :param body_limit: how many bytes of each body are kept; all are counted and hashed.
    """

    def __init__(self, body_limit: int = 1 << 24) -> None:
        self.requests: list[JudgedRequest] = []
        """Complete requests."""
        self.current: JudgedRequest | None = None
        """A request whose head is complete and whose body is not."""
        self.violations: list[str] = []
        self._body_limit = body_limit
        self._buffer = bytearray()
        self._position = 0
        self._offset = 0
        self._within_head = False
        self._kept = bytearray()
        self._hash = hashlib.sha256()
        self._steps = self._read_requests()
        next(self._steps)

    @property
    def tail(self) -> str:
        """What the input ends with: ``"clean"``, ``"head"``, ``"body"``, or ``"violation"``."""
        if self.violations:
            return "violation"
        if self.current is not None:
            return "body"
        return "head" if self._within_head or self._position < len(self._buffer) else "clean"

    def feed(self, data: bytes) -> None:
        """Read on; nothing is read any more after the first violation."""
        if self.violations:
            return
        self._buffer += data
        try:
            next(self._steps)
        except StopIteration:
            return
        del self._buffer[: self._position]
        self._offset += self._position
        self._position = 0

    def _violate(self, what: str) -> None:
        self.violations.append(f"at byte {self._offset + self._position}: {what}")

    def _line(self) -> Iterator[bytes | None]:
        """Yield None while a line is incomplete, then the line without its CRLF."""
        searched = self._position
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                break
            if len(self._buffer) - self._position > _MAX_LINE:
                self._violate("a line without end")
                return
            before = self._position
            searched = len(self._buffer)
            yield None
            searched -= before - self._position
        line = bytes(self._buffer[self._position : end])
        if not line.endswith(b"\r"):
            self._violate(f"a line that ends in a bare LF: {line[-60:]!r}")
            return
        line = line[:-1]
        if b"\r" in line:
            self._violate(f"a bare CR in {line[:120]!r}")
            return
        self._position = end + 1
        yield line

    def _read_requests(self) -> Iterator[None]:
        while True:
            head: list[bytes] = []
            while not head or head[-1]:
                for line in self._line():
                    if line is None:
                        yield
                    else:
                        head.append(line)
                        self._within_head = True
                if self.violations:
                    return
                if head == [b""]:
                    self._violate("an empty line before a request")
                    return
            self._within_head = False
            self.current = request = self._judge_head(head)
            if request is None:
                return
            self._kept = bytearray()
            self._hash = hashlib.sha256()
            if request.framing == "length":
                yield from self._read_bytes(request, request.length)
            elif request.framing == "chunked":
                yield from self._read_chunks(request)
            if self.violations:
                return
            request.body, request.body_sha256 = bytes(self._kept), self._hash.hexdigest()
            request.complete = True
            self.current = None
            self.requests.append(request)
            if self._position >= len(self._buffer):
                yield

    def _read_bytes(self, request: JudgedRequest, count: int) -> Iterator[None]:
        while count:
            piece = self._buffer[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            request.body_length += len(piece)
            self._hash.update(piece)
            self._kept += piece[: max(0, self._body_limit - len(self._kept))]
            if count:
                yield

    def _read_chunks(self, request: JudgedRequest) -> Iterator[None]:
        size = -1
        while size != 0:
            for line in self._line():
                if line is None:
                    yield
                    continue
                found = _CHUNK_LINE.fullmatch(line)
                if found is None:
                    return self._violate(f"not a chunk size: {line[:120]!r}")
                size = int(found[1], 16)
            if self.violations:
                return
            if size == 0:
                break
            yield from self._read_bytes(request, size)
            while len(self._buffer) - self._position < 2:
                yield
            if self._buffer[self._position : self._position + 2] != b"\r\n":
                return self._violate("chunk data that is not followed by CRLF")
            self._position += 2
        while True:
            for line in self._line():
                if line is None:
                    yield
                elif not line:
                    return
                elif (trailer := self._judge_field(line)) is not None:
                    request.trailers.append(trailer)
                    if trailer[0].lower() in _FORBIDDEN_TRAILERS:
                        self._violate(f"{trailer[0]!r} in a trailer")
            if self.violations:
                return

    def _judge_field(self, line: bytes) -> tuple[bytes, bytes] | None:
        if line[:1] in (b" ", b"\t"):
            self._violate(f"a folded line: {line[:120]!r}")
            return None
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            self._violate(f"not a field: {line[:120]!r}")
            return None
        if _BAD_IN_VALUE.search(value):
            self._violate(f"a control byte in the value of {name!r}: {value[:120]!r}")
            return None
        return name, value.strip(b" \t")

    def _judge_head(self, head: list[bytes]) -> JudgedRequest | None:
        found = _REQUEST_LINE.fullmatch(head[0])
        if found is None or not _TOKEN.fullmatch(found[1]):
            self._violate(f"not a request line: {head[0][:120]!r}")
            return None
        method, target, version = found.groups()
        request = JudgedRequest(method, target, version, [], "none")
        if version != b"HTTP/1.1":
            self._violate(f"version {version!r}; a backend is always spoken to in HTTP/1.1")
        if _BAD_IN_TARGET.search(target):
            self._violate(f"a byte that no target may hold in {target[:120]!r}")
        if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
            self._violate(f"a target that is not in origin-form: {target[:120]!r}")
        for line in head[1:-1]:
            one = self._judge_field(line)
            if one is None:
                return None
            request.fields.append(one)
        self._judge_framing(request)
        return None if self.violations else request

    def _judge_framing(self, request: JudgedRequest) -> None:
        hosts = request.values(b"host")
        if len(hosts) != 1 or (hosts[0] and not _HOST.fullmatch(hosts[0])):
            self._violate(f"Host must stand there once and be valid: {hosts!r}")
        lengths, codings = request.values(b"content-length"), request.values(b"transfer-encoding")
        if lengths and codings:
            self._violate(f"Content-Length {lengths!r} together with Transfer-Encoding {codings!r}")
        elif codings:
            if [coding.lower() for coding in codings] != [b"chunked"]:
                self._violate(f"Transfer-Encoding other than chunked: {codings!r}")
            request.framing = "chunked"
        elif lengths:
            if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0]):
                self._violate(f"Content-Length that is not one number: {lengths!r}")
            else:
                request.framing, request.length = "length", int(lengths[0])


def judge(data: bytes) -> Judge:
    """Judge all that one connection received.

    :return: a judge with ``requests`` (complete ones), ``current``, ``tail`` and ``violations``.
    """
    judged = Judge()
    judged.feed(data)
    return judged
