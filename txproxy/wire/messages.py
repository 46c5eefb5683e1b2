"""The model of a message head: what a parser fills in and a writer reads."""

from __future__ import annotations

from typing import Any

from txproxy.wire.fields import Field, fields_of

_COPIED = (
    "chunked",
    "content_length",
    "expects_continue",
    "host",
    "hostname",
    "keep_alive",
    "options",
    "path",
    "port",
    "protocol",
    "suspicious",
    "version",
)


class _Fields:
    """The fields of a message. Of most that were read as lines nobody ever asks for one, so they are split then."""

    __slots__ = ("_fields", "field_lines")

    _fields: list[Field] | None
    field_lines: list[bytes] | None
    """The lines of the fields, ``Name: value``, as long as they are those of the message; None if there are none."""

    @property
    def fields(self) -> list[Field]:
        """Names and values, in order. The list of a request is not to be changed; see ``with_fields``."""
        fields = self._fields
        if fields is None:
            fields = self._fields = fields_of(self.field_lines or ())
        return fields

    @fields.setter
    def fields(self, fields: list[Field]) -> None:
        self._fields, self.field_lines = fields, None


class RequestHead(_Fields):
    """The head of a request, understood and found valid.

    :param fields: in order; None if they stand in ``field_lines``.
    :param known: see the attribute.
    :param field_lines: see the attribute.
    """

    __slots__ = (
        "asked",
        "block",
        "chunked",
        "content_length",
        "expects_continue",
        "host",
        "hostname",
        "keep_alive",
        "known",
        "lines",
        "method",
        "minor",
        "options",
        "path",
        "port",
        "protocol",
        "suspicious",
        "target",
        "upgrade",
        "version",
        "way",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        minor: int,
        fields: list[Field] | None,
        known: dict[bytes, bytes],
        field_lines: list[bytes] | None = None,
    ) -> None:
        self._fields = fields
        self.field_lines = field_lines
        self.method = method
        self.target = target
        """Origin-form or ``*``, as it goes upstream unless a route rewrites it: byte for byte, but for bytes above
        0x7F, which are escaped."""
        self.minor = minor
        """Minor version of HTTP/1 that the client speaks; 1 for HTTP/2, which means what HTTP/1.1 does."""
        self.version = b"1.1" if minor else b"1.0"
        """Version of HTTP that the client speaks: ``1.0``, ``1.1`` (whatever it claims above it) or ``2.0``."""
        self.known = known
        """Values of the fields that the proxy acts on, by lower-case name."""
        self.host = b""
        """Authority of the request's target: from an absolute-form target, else from Host; empty if neither."""
        self.hostname = b""
        """The same in lower case, without a port."""
        self.port: int | None = None
        self.path = target
        """Normal form of the target's path; what routes match."""
        self.suspicious = False
        """The target holds dot segments, a fragment, a broken escape or an encoded NUL; few routes let it pass."""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = minor >= 1
        self.expects_continue = False
        self.options: list[bytes] | None = None
        """Connection options (RFC 9110 section 7.6.1), lower case; None without a Connection field."""
        self.lines: bytes | None = None
        """Field lines as they go upstream, up to X-Forwarded-Host, once a writer has made them; see ``forwarding``."""
        self.block: bytes | None = None
        """The same for HTTP/2, from :authority on, once a writer has made it; see ``http2.requests``."""
        self.asked: Any = None
        """What it means to the cache of the last route that it came to; see ``pipeline.asked``."""
        self.protocol = b""
        """What an extended CONNECT of HTTP/2 asks for (RFC 8441); such a request has the method GET, as in HTTP/1.1."""
        self.upgrade = b""
        """Protocols that a backend is asked to go on with; see ``wire.upgrade``."""
        self.way: Any = None
        """Where a router has sent it, for equal heads that come later; see ``pipeline.route``."""

    def with_upgrade(self, protocols: bytes) -> RequestHead:
        """Return the same request, by which a backend is asked to go on with another protocol."""
        other = self.with_fields(self.fields)
        other.upgrade = protocols
        return other

    def with_fields(self, fields: list[Field]) -> RequestHead:
        """Return the same request with other fields, none of which the proxy itself acts on.

        :param fields: in their order; those of ``known`` must be the same.
        """
        other = RequestHead(self.method, self.target, self.minor, fields, self.known)
        for name in _COPIED:
            setattr(other, name, getattr(self, name))
        return other

    @property
    def is_for_tunnel(self) -> bool:
        """Whether what follows is no body but bytes of a tunnel, if there is to be one (RFC 9110 section 9.3.6)."""
        return bool(self.protocol) or self.method == b"CONNECT"

    @property
    def has_body(self) -> bool:
        """Whether a body follows, be it of no bytes."""
        return self.chunked or bool(self.content_length)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} host={self.host!r}>"


class ReplyHead(_Fields):
    """The head of a reply, understood and found valid.

    :param fields: in order; None if they stand in ``field_lines``.
    :param known: values of the fields that the proxy acts on, by lower-case name.
    :param field_lines: see the attribute.
    """

    __slots__ = (
        "block",
        "chunked",
        "content_length",
        "keep_alive",
        "known",
        "lacks_length",
        "lines",
        "minor",
        "options",
        "reason",
        "status",
        "until_close",
        "version",
    )

    def __init__(
        self,
        status: int,
        reason: bytes,
        minor: int,
        fields: list[Field] | None,
        known: dict[bytes, bytes],
        field_lines: list[bytes] | None = None,
    ) -> None:
        self._fields = fields
        self.field_lines = field_lines
        self.status = status
        self.reason = reason
        self.minor = minor
        self.version = b"1.1" if minor else b"1.0"
        """Version of HTTP that the backend speaks: ``1.0``, ``1.1`` or ``2.0``; the last has a minor version of 1."""
        self.known = known
        self.content_length: int | None = None
        """Length of the body that follows: 0 where there is none, None where only its end tells."""
        self.chunked = False
        self.until_close = False
        self.lacks_length = False
        """Only the end of an HTTP/2 stream says that the body is empty; HTTP/1.1 needs a Content-Length for that."""
        self.keep_alive = minor >= 1
        self.options: list[bytes] | None = None
        self.lines: bytes | None = None
        """Status line and field lines as they go downstream, once a writer has made them; see ``forwarding``."""
        self.block: bytes | None = None
        """The same for HTTP/2; see ``http2.replies``."""

    def copy(self) -> ReplyHead:
        """Return a reply head of one's own, whose fields may be changed."""
        other = ReplyHead(self.status, self.reason, self.minor, list(self.fields), dict(self.known))
        other.content_length, other.chunked, other.until_close = self.content_length, self.chunked, self.until_close
        other.keep_alive, other.options = self.keep_alive, self.options
        other.version, other.lacks_length = self.version, self.lacks_length
        return other

    def __repr__(self) -> str:
        return f"<ReplyHead {self.status} {self.reason!r}>"
