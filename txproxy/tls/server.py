"""TLS towards clients: which certificate a connection gets, and what is agreed with its client.

One front context begins every handshake. It owns the keys of session tickets and outlives the certificates, so that
sessions are resumed after those were replaced; the callback for the server's name (RFC 6066 section 3) then moves the
connection to the context of the certificate that it is to have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from tempfile import NamedTemporaryFile
from typing import NamedTuple, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from zope.interface import implementer

from txproxy.net.interfaces import IServerTls
from txproxy.policy.certificate_index import CertificateIndex, Entry
from txproxy.policy.facts import TlsFacts
from txproxy.tls.certificates import Pair
from txproxy.tls.identity import client_identity
from txproxy.tls.openssl import was_resumed
from txproxy.tls.profile import Profile

_VERIFY = {
    "none": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


class ServerSettings(NamedTuple):
    """What the configuration says of TLS towards clients, certificates excepted."""

    name: str
    """Of the section."""
    profile: Profile = Profile()
    strict_sni: bool = False
    client_auth: str = "none"
    """``none``, ``optional`` or ``required``."""
    has_choice: bool = True
    """Whether the section names several certificates."""
    alpn: tuple[bytes, ...] = (b"http/1.1",)
    """Protocols that are served, the preferred one first; none: clients' offers are not looked at."""


class _Chosen(NamedTuple):
    """What a certificate index leads to."""

    context: SSL.Context
    slot: str
    """The same for certificates that stand in for each other."""


class _Begun:
    """What a connection keeps of the beginning of its handshake.

    :param front: the context that it began with.
    """

    __slots__ = ("alpn", "front", "name", "slot")

    def __init__(self, front: SSL.Context) -> None:
        # OpenSSL asks the front context again when the client says hello twice (HelloRetryRequest), though the
        # connection refers to another one by then and the front one may have been replaced.
        self.front = front
        self.name = ""
        """That the client asked for; empty if it named none."""
        self.slot = ""
        """Of its certificate."""
        self.alpn = ""


class _UnknownName(Exception):
    """There is no certificate for the name that the client asks for."""


class _NoProtocol(SSL.Error):
    """The client offers protocols by ALPN, and none of them is served."""


@implementer(IServerTls)
class ServerTls:
    """The context factory of all listeners that share a section of the configuration.

    :param settings: see there.
    :param wall_clock: seconds since 1970, by which certificates begin and end.
    :param clock: the monotonic clock, in seconds, by which ticket keys are replaced.
    """

    def __init__(self, settings: ServerSettings, wall_clock: Callable[[], float], clock: Callable[[], float]) -> None:
        self.settings = settings
        self._now = wall_clock
        self._clock = clock
        nothing: CertificateIndex[_Chosen] = CertificateIndex(())
        self._client_ca = b""
        self._authorities: list[tuple[x509.Certificate, crypto.X509]] = []
        self._made: dict[tuple[int, ...], tuple[Sequence[Pair], SSL.Context]] = {}
        """Contexts by the identities of their pairs, which are kept with them: a pair that stays keeps its context."""
        self._find = self._find_any = nothing.find
        self._front = self._make_front()
        self._front_ends_at = clock() + settings.profile.ticket_lifetime_s

    def getContext(self) -> SSL.Context:
        """Return the context that a handshake begins with; its ticket keys are replaced when they are old."""
        if self._clock() >= self._front_ends_at:
            self._replace_front()
        return self._front

    def certificates_changed(self, pairs: Sequence[Pair], client_ca: bytes = b"") -> None:
        """Serve other certificates from the next handshake on; connections that are open keep theirs.

        :param pairs: in the order of the configuration.
        :param client_ca: certificates of the authorities of clients, in PEM.
        :raises ValueError: if OpenSSL refuses one of them; then nothing has changed.
        """
        before = self._client_ca, self._authorities, self._made
        try:
            front = self._front
            if client_ca != self._client_ca:
                self._trust(client_ca)
                # A session remembers that its client was verified, by authorities that may not be trusted any more.
                front = self._make_front()
            entries = self._entries(pairs)
        except (SSL.Error, crypto.Error, ValueError) as error:
            self._client_ca, self._authorities, self._made = before
            raise ValueError(_words(error)) from None
        index = CertificateIndex(entries)
        self._front = front
        # As in HAProxy, strictness excludes clients that send no name, too.
        self._find = index.find_named if self.settings.strict_sni else index.find
        self._find_any = index.find
        kept = {id(entry.value.context) for entry in entries}
        self._made = {key: value for key, value in self._made.items() if id(value[1]) in kept}

    def facts_of(self, connection: SSL.Connection) -> TlsFacts:
        """Return what a complete handshake has agreed on.

        :raises NotAccepted: if the client's certificate will not do after all.
        """
        begun = connection.get_app_data()
        subject, fingerprint, verified = client_identity(connection, self.settings.client_auth, self._now())
        return TlsFacts(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "",
            server_name=begun.name,
            alpn=begun.alpn,
            resumed=was_resumed(connection),
            client_subject=subject,
            client_fingerprint=fingerprint,
            client_verify=verified,
        )

    @property
    def has_expired(self) -> bool:
        """Whether no certificate holds at the moment, so that no handshake can succeed."""
        return self._find_any("", self._now()) is None

    def guard_for(self, connection: SSL.Connection) -> Callable[[bytes], bool]:
        """Return a function that tells whether a host has no other certificate than a connection was given."""
        mine = connection.get_app_data().slot

        def is_ours(host: bytes) -> bool:
            entry = self._find(host.decode("latin-1"), self._now())
            return entry is None or entry.value.slot == mine

        return is_ours

    def _trust(self, client_ca: bytes) -> None:
        authorities = x509.load_pem_x509_certificates(client_ca) if client_ca else []
        self._authorities = [(each, crypto.X509.from_cryptography(each)) for each in authorities]
        self._client_ca = client_ca
        self._made = {}

    def _replace_front(self) -> None:
        self._front = self._make_front()
        self._front_ends_at = self._clock() + self.settings.profile.ticket_lifetime_s

    # Contexts.

    def _make_front(self) -> SSL.Context:
        front = self._make_context()
        front.set_tlsext_servername_callback(self._name_received)
        return front

    def _make_context(self) -> SSL.Context:
        settings = self.settings
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        settings.profile.apply(context)
        context.set_verify(_VERIFY[settings.client_auth])
        if self._authorities:
            store = context.get_cert_store()
            assert store is not None
            for authority, loaded in self._authorities:
                store.add_cert(loaded)
                context.add_client_ca(authority)
        # Sessions of another section, whose clients may have had less to prove, are not to be resumed here.
        context.set_session_id(sha256(settings.name.encode() + b"\0" + self._client_ca).digest())
        if settings.alpn:
            context.set_alpn_select_callback(self._choose_protocol)
        return context

    def _entries(self, pairs: Sequence[Pair]) -> list[Entry[_Chosen]]:
        """Return the entries of an index: certificates of several key types for the same names come together first.

        Should one of those expire, the others still have an entry of their own.
        """
        groups: dict[frozenset[str], list[Pair]] = {}
        for pair in pairs:
            group = groups.setdefault(frozenset(pair.names), [])
            if all(pair.key_type != other.key_type for other in group):
                group.append(pair)
        entries = []
        for group in groups.values():
            if len(group) > 1:
                entries.append(self._entry(group, group[0].source.chain))
            entries += [self._entry([pair], group[0].source.chain) for pair in group]
        return entries

    def _entry(self, group: Sequence[Pair], slot: str) -> Entry[_Chosen]:
        key = tuple(map(id, group))
        if key not in self._made:
            self._made[key] = (group, self._make_certified(group))
        return Entry(
            names=group[0].names,
            not_before=max(pair.not_before for pair in group),
            not_after=min(pair.not_after for pair in group),
            value=_Chosen(self._made[key][1], slot),
        )

    def _make_certified(self, group: Sequence[Pair]) -> SSL.Context:
        context = self._make_context()
        for pair in group:
            if len(group) > 1:
                # What is added one by one would be sent with the certificates of every type.
                _use_chain(context, pair)
            else:
                leaf, *others = pair.chain
                context.use_certificate(leaf)
                for other in others:
                    context.add_extra_chain_cert(other)
            context.use_privatekey(pair.key)
            context.check_privatekey()
        if any(pair.staple for pair in group):
            context.set_ocsp_server_callback(self._staple, group)
        return context

    # What OpenSSL calls.

    def _name_received(self, connection: SSL.Connection) -> None:
        begun = connection.get_app_data()
        if begun is None:
            begun = _Begun(connection.get_context())
            connection.set_app_data(begun)
        raw = connection.get_servername()
        begun.name = "" if raw is None else raw.decode("latin-1")
        entry = self._find(begun.name or _local_address(connection), self._now())
        if entry is None:
            _raise_quietly(_UnknownName())
        begun.slot = entry.value.slot
        connection.set_context(entry.value.context)

    def _choose_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in self.settings.alpn:
            if protocol in offered:
                connection.get_app_data().alpn = protocol.decode("ascii")
                return protocol
        # RFC 7301 section 3.2 wants an alert, which pyOpenSSL has sent only for an exception.
        raise _NoProtocol([("SSL routines", "", "no application protocol")])

    def _staple(self, connection: SSL.Connection, group: Sequence[Pair] | None) -> bytes:
        assert group is not None
        sent = connection.get_certificate()
        serial = None if sent is None else sent.get_serial_number()
        pair = next((pair for pair in group if pair.chain[0].serial_number == serial), None)
        return pair.staple if pair is not None and self._now() < pair.staple_until else b""


def _local_address(connection: SSL.Connection) -> str:
    """Return the address that a client has connected to: names of addresses are not sent (RFC 6066 section 3)."""
    try:
        address = connection.getsockname()
    except (AttributeError, OSError):
        return ""  # There is no socket, or it is gone.
    return str(address[0]) if isinstance(address, tuple) else ""


def _use_chain(context: SSL.Context, pair: Pair) -> None:
    """Have a context use a chain as it was checked; its own files may have been replaced since.

    :raises ValueError: if no temporary file can be written.
    """
    try:
        with NamedTemporaryFile() as file:
            file.write(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in pair.chain))
            file.flush()
            context.use_certificate_chain_file(file.name)
    except OSError as error:
        raise ValueError(f"a temporary file cannot be written: {error}") from None


def _raise_quietly(error: Exception) -> NoReturn:
    """Raise in a callback whose only way to send an alert is an exception, which pyOpenSSL then gives to a hook."""
    before = sys.excepthook

    def take(*_raised: object) -> None:
        sys.excepthook = before

    sys.excepthook = take
    try:
        raise error
    finally:
        del error  # It would stay in a cycle with its traceback, which refers to the connection.


def _words(error: Exception) -> str:
    """Return what OpenSSL says; its errors hold tuples of library, function and reason."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list | tuple) and queue:
        return ", ".join(str(each[-1]) for each in queue)
    return str(error) or "OpenSSL refuses it"
