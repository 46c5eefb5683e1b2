"""TLS on the connections of checks: whose certificate it is, who signed it, and until when it holds."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple

from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from txproxy.upstream.checks.probe import ProbeTarget
from txproxy.upstream.checks.probe_socket import Conversation
from txproxy.wire.grammar import split_authority

_PROBLEMS = {
    # Numbers of OpenSSL's x509_vfy.h; see the manual of X509_STORE_CTX_get_error.
    **dict.fromkeys((2, 18, 19, 20, 21, 24, 27), "is not signed by a known authority"),
    9: "is not valid yet",
    10: "has expired",
    23: "is revoked",
    26: "is not that of a server",
}
_NO_TLS = frozenset(("wrong version number", "packet length too long", "http request", "https proxy request"))
"""What OpenSSL says when the first bytes are no record of TLS."""


class ProbeTls(NamedTuple):
    """How backends are spoken to over TLS; see the ``tls`` table of a cluster in the configuration."""

    verify: bool = True
    """Whether the certificate must be signed by a trusted authority, hold at this time and name the backend. If not,
    nothing of it is looked at, for requests do not look either: a check that is stricter than they would take away a
    backend that serves them."""
    server_name: str = ""
    """For SNI and in the certificate; empty: the backend's host."""
    ca: str = ""
    """File with the certificates of trusted authorities; empty: the system's."""
    client_chain: str = ""
    """File with our own certificate and its chain."""
    client_key: str = ""
    """File with the key of our certificate."""


class TlsClient:
    """Makes the TLS side of connections.

    :param settings: whom to trust, and as whom to appear.
    :raises ValueError: a file cannot be read or does not hold what it should, or the name is not one.
    """

    def __init__(self, settings: ProbeTls) -> None:
        self._settings = settings
        context = self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        try:
            if settings.ca:
                context.load_verify_locations(settings.ca)
            else:
                context.set_default_verify_paths()
            if settings.client_chain:
                context.use_certificate_chain_file(settings.client_chain)
                context.use_privatekey_file(settings.client_key)
                context.check_privatekey()
        except SSL.Error as error:
            files = ", ".join(file for file in (settings.ca, settings.client_chain, settings.client_key) if file)
            raise ValueError(f"{files}: {', '.join(_reasons(error)) or 'cannot be read'}") from None
        if settings.server_name and not _is_address(settings.server_name):
            try:
                SSL.Connection(context, None).set_tlsext_host_name(_encoded_name(settings.server_name))
            except (TypeError, UnicodeError) as error:
                raise ValueError(f"{settings.server_name!r} cannot be the name of a server: {error}") from None

    def secure(self, target: ProbeTarget, conversation: Conversation) -> TlsLayer:
        """Return the TLS of one connection."""
        authority = split_authority(target.host_field)
        host = "" if authority is None else authority[0].decode("latin-1")
        name = (self._settings.server_name or host).strip("[]")
        return TlsLayer(self._context, name, self._settings.verify, conversation)


class TlsLayer(Protocol):
    """TLS between the transport of a check and its conversation, for which it is the transport.

    Unlike Twisted's it says in a few words why a handshake failed, and it lets go of OpenSSL's buffers at once although
    the peer's close alert is not waited for: there they are left to the garbage collector.

    :param context: whom to trust.
    :param name: name or address that the certificate must be for.
    :param verify: whether the certificate matters.
    :param conversation: what is said.
    """

    transport: Any

    def __init__(self, context: SSL.Context, name: str, verify: bool, conversation: Conversation) -> None:
        self._context = context
        self._name = name
        self._verify = verify
        self._conversation = conversation
        self._connection: SSL.Connection | None = None
        """None before the connection is made and once nothing more is to be said or heard."""
        self._is_secure = False
        self._has_ended = False
        """The conversation knows that the connection is gone."""
        self._chain_problem = ""

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin the handshake."""
        connection = self._connection = SSL.Connection(self._context, None)
        # RFC 6066 section 3: an address is not sent.
        if self._name and not _is_address(self._name):
            connection.set_tlsext_host_name(_encoded_name(self._name))
        if self._verify:
            connection.set_verify(SSL.VERIFY_PEER, self._note_problem)
        else:
            connection.set_verify(SSL.VERIFY_NONE)
        connection.set_connect_state()
        self._conversation.makeConnection(self)
        self._shake_hands(connection)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt what the peer says."""
        connection = self._connection
        if connection is None:
            return
        connection.bio_write(data)
        if not self._is_secure:
            self._shake_hands(connection)
        if self._is_secure:
            self._read(connection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """An end without a close alert is none to rely on (RFC 8446 section 6.1)."""
        self._end(Failure(ConnectionLost()))

    # What the conversation calls.

    @property
    def queued_bytes(self) -> int:
        """Bytes that the transport has not sent yet."""
        return getattr(self.transport, "queued_bytes", 0)

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        connection = self._connection
        if connection is not None:
            connection.send(data)
            self._flush(connection)

    def loseConnection(self) -> None:
        """Say that nothing more will come, and close; the peer may never say the same, so it is not waited for."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SSL.Error):  # There is nothing to end in a handshake.
                connection.shutdown()
            self._flush(connection)
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Reset the connection."""
        self._connection = None
        self.transport.abortConnection()

    # The handshake and after.

    def _shake_hands(self, connection: SSL.Connection) -> None:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            self._flush(connection)
            return
        except SSL.Error as error:
            self._flush(connection)  # An alert that tells the peer why.
            self._connection = None
            self._conversation.handshake_ended(self._chain_problem or _problem_of(error))
            return
        self._is_secure = True
        self._flush(connection)
        self._conversation.handshake_ended(self._identity_problem(connection))

    def _read(self, connection: SSL.Connection) -> None:
        while self._connection is not None:
            try:
                data = connection.recv(65536)
            except SSL.WantReadError:
                self._flush(connection)
                return
            except SSL.ZeroReturnError:
                self.transport.loseConnection()
                self._end(connectionDone)
            except SSL.Error:
                self.transport.abortConnection()
                self._end(Failure(ConnectionLost()))
            else:
                self._conversation.dataReceived(data)

    def _end(self, reason: Failure) -> None:
        self._connection = None
        if not self._has_ended:
            self._has_ended = True
            self._conversation.connectionLost(reason)

    def _flush(self, connection: SSL.Connection) -> None:
        with suppress(SSL.WantReadError):
            while True:
                self.transport.write(connection.bio_read(65536))

    def _identity_problem(self, connection: SSL.Connection) -> str:
        if not self._verify:
            return ""
        verify = verify_ip_address if _is_address(self._name) else verify_hostname
        try:
            verify(connection, self._name)
        except Exception:
            # The certificate is the peer's: there are many ways in which its names cannot be read.
            return f"the certificate is not for {self._name}"
        return ""

    def _note_problem(self, connection: Any, certificate: Any, number: int, depth: int, ok: int) -> bool:
        if not ok and not self._chain_problem:
            whose = "the certificate" if depth == 0 else "the certificate of its authority"
            self._chain_problem = f"{whose} {_PROBLEMS.get(number, f'is not valid (error {number} of OpenSSL)')}"
        return bool(ok)


def _problem_of(error: SSL.Error) -> str:
    reasons = _reasons(error)
    if not _NO_TLS.isdisjoint(reasons):
        return "it does not speak TLS"
    return f"TLS handshake failed: {reasons[-1] if reasons else 'no reason given'}"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _encoded_name(name: str) -> bytes:
    return name.encode() if name.isascii() else name.encode("idna")


def _reasons(error: SSL.Error) -> list[str]:
    # A list of (library, function, reason); a SysCallError has a number and a text instead.
    queue = error.args[0] if error.args else ()
    return [each[-1] for each in queue] if isinstance(queue, list) else [str(part) for part in error.args[1:]]
