"""A stream of HTTP/2 as a client sees it, and what its fields must look like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hyperframe.frame import Frame, PriorityFrame, RstStreamFrame, WindowUpdateFrame

Fields = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$")
_OF_A_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"http2-settings")
)


@dataclass(slots=True)
class Stream:
    """One request and what came for it."""

    id: int
    method: str
    target: str
    granted: int
    """Bytes that the peer may still send."""
    room: int
    """Bytes that we may still send."""
    is_read: bool = True
    """Whether what comes is granted anew, as soon as it is half of the window (sooner would make for tiny frames)."""
    status: int = 0
    fields: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    """Fields of the 1xx replies, each with its ``:status``."""
    body: bytearray = field(default_factory=bytearray, repr=False)
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    """The peer has ended it cleanly."""
    reset: int | None = None
    """Code with which the peer has reset it."""
    cancelled: bool = False
    """We have reset it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.reset is not None or self.cancelled

    def values(self, name: str) -> list[str]:
        """Return all values of a field of the reply in order."""
        return [value.decode("latin-1") for each, value in self.fields if each == name.lower().encode()]

    def value(self, name: str) -> str | None:
        """Return the only value of a field, None if it is absent, or fail if it stands there twice."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times: {values}"
        return values[0] if values else None

    def check(self, frame: Frame) -> None:
        """Fail if a frame may not come any more."""
        assert not self.ended or isinstance(frame, (RstStreamFrame, WindowUpdateFrame)), f"{frame} after an end"
        assert self.reset is None or isinstance(frame, PriorityFrame), f"{frame} after a reset"

    def end(self) -> None:
        """Take note of a clean end, which must be where Content-Length says."""
        self.ended = True
        length = self.value("content-length")
        if length is not None and self.method != "HEAD" and self.status != 304:
            assert int(length) == len(self.body), f"{len(self.body)} bytes in a clean end: {self}"


def judge_fields(fields: Fields, is_trailers: bool) -> None:
    """Check a header block as RFC 9113 section 8.2 and 8.3.2 say."""
    names = [name for name, _ in fields]
    pseudo = [name for name in names if name.startswith(b":")]
    assert pseudo == ([] if is_trailers else [b":status"]), fields
    assert is_trailers or (names[0] == b":status" and re.fullmatch(rb"[1-9][0-9][0-9]", fields[0][1])), fields
    for name, value in fields[len(pseudo) :]:
        assert _NAME.fullmatch(name), f"a name that is none: {name!r}"
        assert name not in _OF_A_CONNECTION, f"a field of a connection: {name!r}: {value!r}"
        assert not _BAD_IN_VALUE.search(value), f"a value that is none: {name!r}: {value!r}"
