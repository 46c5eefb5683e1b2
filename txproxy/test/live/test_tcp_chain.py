"""A tcp listener with all that can stand around its bytes: a PROXY header and TLS on either side."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from OpenSSL import SSL

from txproxy.test.wire.proxy_headers import read_header, tlv, v2
from txproxy.wire.proxy_protocol import ProxyHeader

from .client import DEADLINE_S, wait_for
from .peers import ProxyProcess
from .stream_server import StreamServer
from .tls_front import section
from .tls_identities import Issuer

_HEADERS = {
    "v1": b"PROXY TCP4 203.0.113.7 198.51.100.1 56789 8443\r\n",
    # With facts of no length, of an unknown kind, and what pads it.
    "v2": v2(
        bytes((203, 0, 113, 7, 198, 51, 100, 1, 0xDD, 0xD5, 0x20, 0xFB))
        + tlv(4, b"") + tlv(0x31, b"") + tlv(0xE0, b"") + tlv(4, bytes(300)) + tlv(2, b"said.example")
    ),
}  # fmt: skip
_MUCH = b"0123456789" * 100_000


Talk = Callable[[SSL.Connection], None]


class Chain:
    """The proxy between two peers.

    :param proxy: with a listener for each version, ``v1`` and ``v2``.
    """

    def __init__(self, proxy: ProxyProcess) -> None:
        self.proxy = proxy
        self.begin("v1")
        self._lines = 0

    def begin(self, version: str) -> None:
        """Be what the next test needs."""
        self.version = version
        self.header = _HEADERS[version]
        """What a client says first."""
        self.talk: Talk = lambda connection: None
        """What the server does with a connection, once its handshake is complete; tests put it in."""
        self.told: list[ProxyHeader] = []
        """The headers that the server has read."""
        self.ends: list[str] = []
        """How the server's connections ended."""

    def line(self) -> dict[str, Any]:
        """Return the line of the access log that comes next."""
        self._lines += 1
        lines = self.proxy.access_lines(self._lines)
        assert len(lines) == self._lines
        return lines[-1]

    def serve(self, connection: socket.socket, context: SSL.Context) -> None:
        """Be the server of a connection."""
        self.told.append(_header_of(connection))
        secure = SSL.Connection(context, connection)
        secure.set_accept_state()
        try:
            secure.do_handshake()
            self.talk(secure)
            self.ends.append("ok")
        except (SSL.Error, OSError) as error:
            self.ends.append(type(error).__name__)

    @contextmanager
    def connect(self, bytewise: bool = False) -> Iterator[SSL.Connection]:
        """Yield a connection whose handshake is complete.

        :param bytewise: the header in a packet for each byte.
        """
        with socket.create_connection(("127.0.0.1", self.proxy.ports[self.version]), DEADLINE_S) as plain:
            plain.setblocking(True)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = 1 if bytewise else len(self.header)
            for at in range(0, len(self.header), size):
                plain.sendall(self.header[at : at + size])
                time.sleep(0.0005)
            client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
            client.set_tlsext_host_name(b"front.example")
            client.set_connect_state()
            client.do_handshake()
            yield client


def _read_all(connection: SSL.Connection) -> bytes:
    """Read to a close alert; anything else is an exception."""
    received = bytearray()
    try:
        while True:
            received += connection.recv(1 << 16)
    except SSL.ZeroReturnError:
        return bytes(received)


def _header_of(connection: socket.socket) -> ProxyHeader:
    """Read a header and not one byte more: what follows is for TLS."""
    seen = b""
    while True:
        seen += connection.recv(1)
        header, _ = read_header([seen])
        if header is not None:
            return header


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """PROXY header, TLS, the proxy, PROXY header, TLS; in both versions."""
    folder, issuer = tmp_path_factory.mktemp("chain"), Issuer()
    (folder / "root.pem").write_bytes(issuer.pem)
    pair = issuer.leaf("front.example").save(folder, "front")
    issuer.leaf("back.example").save(folder, "back")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(folder / "back.pem"))
    context.use_privatekey_file(str(folder / "back.key"))
    chains: list[Chain] = []
    with StreamServer(lambda connection: chains[0].serve(connection, context)) as server:
        config = section("main", [pair]) + '[proxy]\ntrusted_proxies = ["127.0.0.1"]\n'
        for version in _HEADERS:
            config += (
                f'[[listener]]\nname = "{version}"\nprotocol = "tcp"\naddress = "127.0.0.1:0"\n'
                f'tls = "main"\nproxy_protocol = true\ncluster = "{version}"\n'
                f'[cluster.{version}]\nbackends = [{{ address = "{server.address}" }}]\nsend_proxy_protocol = "{version}"\n'
                f'tls = {{ enabled = true, ca = "{folder}/root.pem", server_name = "back.example" }}\n'
            )
        with ProxyProcess(config) as proxy:
            chains.append(Chain(proxy))
            yield chains[0]


@pytest.fixture(params=[*_HEADERS])
def chain(request: pytest.FixtureRequest, one_for_all: Chain) -> Chain:
    """The same, in each version."""
    one_for_all.begin(request.param)
    return one_for_all


def _judge(chain: Chain, bytes_in: int, bytes_out: int) -> None:
    line = chain.line()
    assert (line["end"], line["client"], line["tls"]) == ("ok", "203.0.113.7", "TLSv1.3")
    assert (line["bytes_in"], line["bytes_out"]) == (bytes_in, bytes_out)
    (told,) = chain.told
    assert (told.source, told.destination) == (("203.0.113.7", 56789), ("198.51.100.1", 8443))
    if chain.header.startswith(b"PROXY"):
        assert told.tls is None
    else:
        assert told.tls is not None and told.tls.version == "TLSv1.3"
        assert told.authority == "front.example"
    wait_for(lambda: chain.ends, "the server's end")
    assert chain.ends == ["ok"]


@pytest.mark.parametrize("bytewise", [False, True])
def test_client_ends_first(chain: Chain, bytewise: bool) -> None:
    """Its close alert is one for the server, whose answer begins only then, and comes to its own close alert."""

    def answer(connection: SSL.Connection) -> None:
        question = _read_all(connection)
        connection.sendall(b"answer to " + question)
        connection.shutdown()

    chain.talk = answer
    with chain.connect(bytewise) as client:
        client.sendall(_MUCH)
        client.shutdown()
        assert _read_all(client) == b"answer to " + _MUCH
        _judge(chain, len(_MUCH), len(_MUCH) + 10)


def test_server_ends_first(chain: Chain) -> None:
    """Its close alert is one for the client, and what the client says later still gets to the server."""
    heard: list[bytes] = []

    def greet(connection: SSL.Connection) -> None:
        connection.sendall(b"220 greeting\r\n")
        connection.shutdown()
        heard.append(_read_all(connection))

    chain.talk = greet
    with chain.connect() as client:
        assert _read_all(client) == b"220 greeting\r\n"
        client.sendall(_MUCH)
        client.shutdown()
        wait_for(lambda: heard, "the server to hear it")
        assert heard == [_MUCH]
        _judge(chain, len(_MUCH), 14)


def _swap(client: SSL.Connection, data: bytes) -> bytes:
    """Send and read as either is possible, until as much has come as was sent."""
    client.setblocking(False)
    sent, received = 0, bytearray()
    while len(received) < len(data):
        is_stuck = True
        try:
            if sent < len(data):
                sent += client.send(data[sent : sent + (1 << 14)])
                is_stuck = False
        except (SSL.WantReadError, SSL.WantWriteError):
            pass
        try:
            received += client.recv(1 << 16)
        except SSL.WantReadError:
            if is_stuck:
                ready = select.select([client], [client] if sent < len(data) else [], [], DEADLINE_S)
                assert any(ready), f"{sent} sent, {len(received)} received"
    client.setblocking(True)
    return bytes(received)


def test_much_both_ways_at_once(chain: Chain) -> None:
    """Each side sends while the other does."""

    def echo(connection: SSL.Connection) -> None:
        try:
            while True:
                connection.sendall(connection.recv(1 << 16))
        except SSL.ZeroReturnError:
            connection.shutdown()

    chain.talk = echo
    with chain.connect() as client:
        assert _swap(client, _MUCH * 5) == _MUCH * 5
        client.shutdown()
        assert _read_all(client) == b""
        _judge(chain, 5 * len(_MUCH), 5 * len(_MUCH))


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("who", ["client", "server"])
def test_no_close_alert(chain: Chain, who: str, by_reset: bool) -> None:
    """Who is cut off has not said all: the other side sees a reset, and no close alert."""

    def cut(connection: SSL.Connection) -> None:
        if by_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            connection.sock_shutdown(socket.SHUT_RDWR)
        connection.close()

    def serve(connection: SSL.Connection) -> None:
        connection.sendall(b"here")
        if who == "server":
            connection.recv(1)
            cut(connection)
        else:
            _read_all(connection)

    chain.talk = serve
    with chain.connect() as client:
        assert client.recv(4) == b"here"
        client.sendall(b"x")
        if who == "client":
            cut(client)
        else:
            with pytest.raises(SSL.SysCallError, match="104"):
                _read_all(client)
        line = chain.line()
        assert line["end"] == ("client-left" if who == "client" else "backend-closed")
        wait_for(lambda: chain.ends, "the server's end")
        assert chain.ends == ["SysCallError" if who == "client" else "ok"]
