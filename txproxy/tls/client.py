"""TLS towards backends: whom we trust, as whom we appear, and sessions that are gone on with.

A ``ClientContext`` holds what all backends of one cluster share, and reads the files; a ``ClientTls`` is for one of
them. Sessions belong to the latter, so that they never come to a server of another name or another cluster.
"""

from __future__ import annotations

from socket import socket
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL, crypto
from zope.interface import implementer

from txproxy.config.model import Certificate
from txproxy.config.problems import quoted
from txproxy.net.interfaces import IClientTls
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.tls.certificates import CertificateError, Purpose, load_authorities, load_pair
from txproxy.tls.openssl import has_authorities
from txproxy.tls.verification import (
    NotVerified,
    PeerName,
    chain_problem,
    handshake_failure,
    has_expired,
    identity_problem,
    late_failure,
    reasons_of,
)

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:!aNULL:!PSK"
"""For TLS 1.2: only with forward secrecy, as Go's clients do; those with CBC stand last, for old servers."""
NO_HTTP2 = "it does not agree to h2 by ALPN"
"""What is said of a backend that has TLS, and no HTTP/2."""
_HTTP_1_1 = b"http/1.1"
_H2 = b"h2"


class ClientSettings(NamedTuple):
    """How backends are spoken to over TLS; see the ``tls`` table of a cluster in the configuration."""

    verify: bool = True
    """Whether the certificate must be signed by a trusted authority, hold at this time and name the backend. If not,
    nothing of it is looked at."""
    server_name: str = ""
    """For SNI and in the certificate; empty: the backend's host."""
    ca: str = ""
    """File with the certificates of trusted authorities; empty: the system's."""
    client_chain: str = ""
    """File with our own certificate and its chain."""
    client_key: str = ""
    """File with the key of our certificate."""
    http2: bool = False
    """Backends are to speak HTTP/2; who is asked for no more than a handshake may still speak another."""
    offers_http: bool = True
    """HTTP is what is spoken, and offered by ALPN; if not, nothing is."""


class ClientTlsError(ValueError):
    """A setting cannot be used.

    :param key: which one, as ``ClientSettings`` calls it.
    :param message: why not.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class _Connection(SSL.Connection):
    """A connection that takes notes, so that neither callbacks nor dictionaries need know of it."""

    chain_problem = ""
    """The first one that was found."""
    is_checked = False
    """Our side of the handshake is complete, and we are satisfied."""


class ClientContext:
    """What the TLS to all backends of one cluster has in common; files are read once, here.

    :param settings: whom to trust, and as whom to appear.
    :param now: the time of day, in seconds since 1970.
    :raises ClientTlsError: a file cannot be read or does not hold what it should, or the name is not one.
    """

    def __init__(self, settings: ClientSettings, now: float) -> None:
        self.settings = settings
        self.server_name = _server_name(settings.server_name) if settings.server_name else None
        self.shows_certificate = bool(settings.client_chain)
        self.trusts_nobody = False
        """Certificates are to be verified by the system's authorities, and the system has none."""
        self.warnings: tuple[str, ...] = ()
        """What is doubtful about the files, in a line each."""
        context = self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(_CIPHERS)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        # A pool keeps many idle connections, which shall not hold OpenSSL's buffers of 34 KiB each.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # Who may go on with a session is decided by ``ClientTls``.
        if settings.offers_http:
            context.set_alpn_protos([_H2, _HTTP_1_1] if settings.http2 else [_HTTP_1_1])
        if settings.verify:
            self._trust(settings.ca, now)
            context.set_verify(SSL.VERIFY_PEER, _note_problem)
        else:
            context.set_verify(SSL.VERIFY_NONE)
        if settings.client_chain:
            self._show(settings.client_chain, settings.client_key, now)

    def to(self, host: str, only_http2: bool = False) -> ClientTls:
        """Return the TLS to one backend.

        :param host: its name or address, of which its certificate must be unless ``server_name`` is set.
        :param only_http2: offer nothing but HTTP/2 (RFC 9113 section 3.2), and take nothing else for a success.
        """
        return ClientTls(self, self.server_name or PeerName.of(host), only_http2)

    def _trust(self, ca: str, now: float) -> None:
        if not ca:
            self.context.set_default_verify_paths()
            self.trusts_nobody = not has_authorities(self.context)
            return
        try:
            authorities = load_authorities(ca, now)
        except CertificateError as error:
            raise ClientTlsError("ca", error.text) from None
        self.warnings += authorities.warnings
        store = self.context.get_cert_store()
        assert store is not None
        for certificate in authorities.certificates:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # Whatever stands in the file is trusted, be it an authority of authorities, one of those, or the certificate of
        # a backend itself.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)

    def _show(self, chain: str, key: str, now: float) -> None:
        try:
            pair = load_pair(Certificate(chain=chain, key=key), now, Purpose.CLIENT)
        except CertificateError as error:
            raise ClientTlsError(f"client_{error.key}", error.text) from None
        self.warnings += pair.warnings
        own, *others = pair.chain
        self.context.use_certificate(own)
        for other in others:
            self.context.add_extra_chain_cert(other)
        self.context.use_privatekey(pair.key)


@implementer(IClientTls)
class ClientTls:
    """TLS to one backend; a later connection goes on with the session of an earlier one, if the backend allows that.

    :param shared: see there.
    :param name: of the backend.
    :param only_http2: see ``ClientContext.to``.
    """

    def __init__(self, shared: ClientContext, name: PeerName, only_http2: bool = False) -> None:
        self.name = name
        self._only_http2 = only_http2
        self._context = shared.context
        self._verify = shared.settings.verify
        self._shows_certificate = shared.shows_certificate
        self._session: SSL.Session | None = None
        self._certificate: x509.Certificate | None = None
        """Of the backend, as it was when the session began."""

    def connection(self, skt: socket | None) -> SSL.Connection:
        """See ``IClientTls.connection``; with None, it is one in memory."""
        connection = _Connection(self._context, skt)
        if self._only_http2:
            connection.set_alpn_protos([_H2])
        if self.name.server_name:
            connection.set_tlsext_host_name(self.name.server_name)
        session = self._session
        if session is not None:
            # Nobody looks at a certificate's time when a session is gone on with.
            if self._verify and has_expired(self._certificate):
                self._session = None
            else:
                connection.set_session(session)
        connection.set_connect_state()
        return connection

    def check(self, connection: SSL.Connection) -> None:
        """See ``IClientTls.check``."""
        if self._verify:
            problem = identity_problem(connection.get_peer_certificate(as_cryptography=True), self.name)
            if problem:
                self._session = None
                raise NotVerified(problem)
        if self._only_http2 and connection.get_alpn_proto_negotiated() != _H2:
            raise TlsFailure(TlsFault.PEER, NO_HTTP2)
        if isinstance(connection, _Connection):
            connection.is_checked = True

    def failure(self, connection: SSL.Connection, error: Exception) -> TlsFailure:
        """See ``IClientTls.failure``; also for what ends a connection before the peer has said anything."""
        self._session = None  # If it was to blame, the next attempt does without.
        if isinstance(error, TlsFailure):
            return error
        if getattr(connection, "is_checked", False):
            is_tls13 = connection.get_protocol_version() >= SSL.TLS1_3_VERSION
            return late_failure(error, is_tls13, self._shows_certificate)
        if self._only_http2 and any("no application protocol" in reason for reason in reasons_of(error)):
            return TlsFailure(TlsFault.PEER, NO_HTTP2)
        return handshake_failure(error, getattr(connection, "chain_problem", ""), self._shows_certificate)

    def secured(self, connection: SSL.Connection) -> None:
        """See ``IClientTls.secured``."""
        self._session = connection.get_session()
        if self._verify:
            self._certificate = connection.get_peer_certificate(as_cryptography=True)


def _note_problem(connection: SSL.Connection, certificate: object, number: int, depth: int, ok: int) -> bool:
    if not ok and isinstance(connection, _Connection) and not connection.chain_problem:
        connection.chain_problem = chain_problem(number, depth)
    return bool(ok)


def _server_name(name: str) -> PeerName:
    try:
        return PeerName.of(name)
    except ValueError:
        raise ClientTlsError("server_name", f"{quoted(name)} is neither a host name nor an IP address") from None
