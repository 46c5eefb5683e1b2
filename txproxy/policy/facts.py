"""What users' functions and balancing policies are told about a request."""

from __future__ import annotations

from typing import NamedTuple

from txproxy.wire.fields import Field, FieldView
from txproxy.wire.grammar import is_field_value
from txproxy.wire.messages import RequestHead
from txproxy.wire.proxy_protocol import ProxyHeader


class TlsFacts(NamedTuple):
    """What the handshake of a client's TLS connection has settled; the same for all of its requests."""

    version: str
    """``TLSv1.2`` or ``TLSv1.3``."""
    cipher: str
    """Name of the cipher suite, as OpenSSL has it."""
    server_name: str = ""
    """The name that the client asked for (SNI); empty if it asked for none."""
    alpn: str = ""
    """The protocol that was agreed on; empty if none was."""
    resumed: bool = False
    """The handshake was a short one, with the keys of an earlier connection."""
    client_subject: bytes = b""
    """Distinguished name in the client's certificate (RFC 4514); empty without a certificate."""
    client_fingerprint: bytes = b""
    """SHA-256 of the client's certificate, in hexadecimal; empty without a certificate."""
    client_verify: bytes = b""
    """``SUCCESS`` if the client has shown a certificate that is valid, ``NONE`` if it has shown none; empty if this
    connection does not ask for certificates."""

    @property
    def identity(self) -> tuple[Field, ...]:
        """The fields that tell a backend who the client is; none if this connection does not ask for certificates."""
        if not self.client_verify:
            return ()
        verify = (b"X-Client-Cert-Verify", self.client_verify)
        if not self.client_fingerprint:
            return (verify,)
        # Whoever made the certificate chose the subject: what could break a head is not passed on.
        subject = self.client_subject if is_field_value(self.client_subject) else b""
        return (
            (b"X-Client-Cert-Subject", subject),
            (b"X-Client-Cert-Fingerprint", self.client_fingerprint),
            verify,
        )


class RequestFacts:
    """A request as ``choose`` functions and balancing policies see it. Text is Latin-1, so that no byte is lost.

    Text is made when it is asked for, so that whoever asks for nothing pays for nothing.

    :param head: the request's head, as it was parsed; shared by many requests, so read it only.
    :param client: address of the client: the peer, or what a trusted peer says.
    :param scheme: ``http`` or ``https``.
    :param listener: name of the listener that it came to.
    :param tls: of the connection that it came on; None if that is not encrypted.
    :param proxied: what a proxy in front has said of the connection, by the PROXY protocol; None if nothing.
    """

    __slots__ = ("_headers", "client", "head", "listener", "proxied", "scheme", "tls")

    def __init__(
        self,
        head: RequestHead,
        client: str,
        scheme: str,
        listener: str,
        tls: TlsFacts | None = None,
        proxied: ProxyHeader | None = None,
    ) -> None:
        self.head = head
        self.client = client
        self.scheme = scheme
        self.listener = listener
        self.tls = tls
        self.proxied = proxied
        self._headers: FieldView | None = None

    @property
    def method(self) -> str:
        """The method, in the client's spelling."""
        return self.head.method.decode("latin-1")

    @property
    def target(self) -> str:
        """Origin-form or ``*``, query included."""
        return self.head.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The normal form of the path."""
        return self.head.path.decode("latin-1")

    @property
    def host(self) -> str:
        """Lower case, without a port."""
        return self.head.hostname.decode("latin-1")

    @property
    def headers(self) -> FieldView:
        """The fields as a mapping of text that takes names in any case."""
        headers = self._headers
        if headers is None:
            headers = self._headers = FieldView(self.head.fields)
        return headers

    def __repr__(self) -> str:
        return f"<RequestFacts {self.method} {self.target!r} host={self.host!r} of {self.client}>"


NO_FACTS = RequestFacts(RequestHead(b"", b"", 1, [], {}), "", "", "")
"""For policies that read nothing of the request."""
