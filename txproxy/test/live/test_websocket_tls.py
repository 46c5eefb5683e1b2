"""WebSocket with TLS on either side of the proxy, by HTTP/1.1 and by HTTP/2 (RFC 8441), with foreign programs at both ends."""

from __future__ import annotations

import contextlib
import random
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import SettingsFrame
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.sync.client import connect

from .browser import Site, home_trusting, said
from .client import DEADLINE_S, wait_for
from .http2_client import Http2Client
from .http2_front import cluster, section
from .peers import Backend, BackendConnection, JudgedRequest, ProxyProcess, by_target, fixed
from .tls_client import trusting
from .tls_front import front, listener, needed
from .tls_identities import Issuer
from .websocket_server import echo_server

_SOURCE = random.Random(8441)
_MESSAGES: list[bytes | str] = [
    "", "é" * 70, b"", bytes(range(256)), _SOURCE.randbytes(300_000), "text " * 30_000, _SOURCE.randbytes(65_536),
]  # fmt: skip


class Fixture:
    """An authority, a server that echoes, and a proxy in front of it.

    :param directory: for files.
    :param front_tls: whether clients speak TLS; ``back_tls``: whether the proxy does to the server.
    """

    def __init__(self, stack: ExitStack, directory: Path, front_tls: bool, back_tls: bool) -> None:
        self.root = Issuer()
        (directory / "root.pem").write_bytes(self.root.pem)
        pair = self.root.leaf("a.example").save(directory, "front")
        server_tls, keys = None, ""
        if back_tls:
            self.root.leaf("back.example").save(directory, "back")
            server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server_tls.load_cert_chain(directory / "back.pem", directory / "back.key")
            keys = f'tls = {{ enabled = true, ca = "{directory}/root.pem", server_name = "back.example" }}'
        self.server_port = stack.enter_context(echo_server(server_tls))
        config = (
            listener("web", 'tls = "main"' if front_tls else "")
            + section("main", [pair])
            + cluster("chat", f"127.0.0.1:{self.server_port}", "/", keys)
        )
        self.proxy = stack.enter_context(ProxyProcess(config))


@pytest.mark.parametrize(("front_tls", "back_tls"), [(True, False), (False, True), (True, True)])
def test_tls_on_either_side(tmp_path: Path, front_tls: bool, back_tls: bool) -> None:
    """Messages come back byte for byte, and both sides close as agreed."""
    with ExitStack() as stack:
        fixture = Fixture(stack, tmp_path, front_tls, back_tls)
        scheme, tls = ("wss", trusting(fixture.root.pem)) if front_tls else ("ws", None)
        with connect(
            f"{scheme}://127.0.0.1:{fixture.proxy.port}/chat", ssl=tls, server_hostname="a.example" if tls else None,
            subprotocols=["chat.v1"], max_size=None, open_timeout=DEADLINE_S,  # type: ignore[list-item]
        ) as client:  # fmt: skip
            for message in _MESSAGES:
                client.send(message)
            assert [client.recv(timeout=DEADLINE_S) for _ in _MESSAGES] == _MESSAGES
            client.close(4001, "enough")
        (line,) = fixture.proxy.access_lines(1)
        assert (line["status"], line["end"], line["version"]) == (101, "ok", "1.1")
        assert (line["tls"] is not None) == front_tls


class _WebSocket:
    """One of several on a connection of HTTP/2: frames are read and written by the library ``websockets``."""

    def __init__(self, client: Http2Client, deflate: bool = False) -> None:
        self._client = client
        factory = ClientPerMessageDeflateFactory()
        offered = [(b"sec-websocket-extensions", b"permessage-deflate")] if deflate else []
        self.stream = client.open(
            "/chat", "CONNECT", ended=False,
            fields=[
                (b":protocol", b"websocket"), (b"sec-websocket-version", b"13"),
                (b"sec-websocket-protocol", b"chat.v1"), (b"origin", b"https://a.example"), *offered,
            ],
        )  # fmt: skip
        assert client.pump(lambda: self.stream.status)
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        if deflate:
            assert (self.stream.value("sec-websocket-extensions") or "").startswith("permessage-deflate")
            self.protocol.extensions = [factory.process_response_params([], [])]
        self._taken = 0
        self.frames: list[Frame] = []

    def send(self, message: bytes | str) -> None:
        """Send a message."""
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        self.flush()

    def flush(self) -> None:
        """Send what the library has to say."""
        for data in self.protocol.data_to_send():
            if data:
                self._client.send_body(self.stream, data, ended=False)

    def receive(self, count: int) -> list[bytes | str]:
        """Return so many messages that have come."""

        def complete() -> bool:
            self.protocol.receive_data(bytes(self.stream.body[self._taken :]))
            self._taken = len(self.stream.body)
            self.frames += [frame for frame in self.protocol.events_received() if isinstance(frame, Frame)]
            assert self.protocol.parser_exc is None, self.protocol.parser_exc
            return sum(frame.fin for frame in self.frames) >= count

        assert self._client.pump(complete), self.stream
        found: list[bytes | str] = []
        pieces: list[Frame] = []
        for frame in self.frames:
            pieces.append(frame)
            if frame.fin:
                data = b"".join(bytes(piece.data) for piece in pieces)
                found.append(data.decode() if pieces[0].opcode is Opcode.TEXT else data)
                pieces = []
        self.frames = []
        return found


@pytest.mark.parametrize("back_tls", [False, True])
def test_by_http2(tmp_path: Path, back_tls: bool) -> None:
    """W1: several WebSockets, with and without an extension, on one connection of HTTP/2 by TLS."""
    with ExitStack() as stack:
        fixture = Fixture(stack, tmp_path, True, back_tls)
        tls = trusting(fixture.root.pem, alpn=("h2",))
        client = stack.enter_context(Http2Client(fixture.proxy.port, tls=tls))
        assert client.pump(lambda: client.settings)
        assert client.settings[SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 1
        sockets = [_WebSocket(client, deflate) for deflate in (False, True, False)]
        for each in sockets:
            assert each.stream.status == 200
            assert each.stream.value("sec-websocket-protocol") == "chat.v1"
            assert each.stream.value("sec-websocket-accept") is None
        for message in _MESSAGES:
            for each in sockets:
                each.send(message)
        for each in sockets:
            assert each.receive(len(_MESSAGES)) == _MESSAGES
        first, second, third = sockets
        # Each ends in its way: the handshake of WebSocket, an end of the stream alone, a reset.
        first.protocol.send_close(4001, "enough")
        first.flush()
        client.finish(first.stream)
        assert first.stream.ended
        client.send_body(second.stream, b"")
        client.finish(second.stream)
        assert second.stream.ended
        client.cancel(third.stream)
        lines = fixture.proxy.access_lines(3)
        assert [(line["version"], line["status"]) for line in lines] == [("2.0", 200), ("2.0", 200), ("2.0", 499)]
        assert [line["end"] for line in lines] == ["ok", "ok", "client-left"]
        assert all(line["bytes_in"] > 300_000 and line["bytes_out"] > 300_000 for line in (lines[0], lines[2]))


_PAGE = """<!doctype html><title>page</title><p id="said">unfinished</p><script>
const equal = (one, other) => one.length == other.length && one.every((each, place) => each == other[place]);
const talk = async number => {
  const socket = new WebSocket("wss://" + location.host + "/chat", ["chat.v1"]);
  socket.binaryType = "arraybuffer";
  const received = [];
  let opened, got, closed;
  const opening = new Promise(done => opened = done), getting = new Promise(done => got = done);
  const closing = new Promise(done => closed = done);
  socket.onopen = opened;
  socket.onclose = event => { opened(); got(); closed(event); };
  const bytes = [0, 1, 125, 126, 65535, 65536, 1000000].map(
    length => Uint8Array.from({length}, (_, place) => (place * 31 + number) % 251));
  const texts = ["", "text " + number, "\\u00e9\\ud83d\\ude00".repeat(20000)];
  socket.onmessage = event => { if (received.push(event.data) == bytes.length + texts.length) got(); };
  await opening;
  bytes.forEach(each => socket.send(each));
  texts.forEach(each => socket.send(each));
  await getting;
  const good = received.length == bytes.length + texts.length
    && bytes.every((each, place) => equal(new Uint8Array(received[place]), each))
    && texts.every((each, place) => received[bytes.length + place] === each);
  const protocol = socket.protocol;
  socket.close(4001, "enough");
  const event = await closing;
  return [good, protocol, event.wasClean, event.code].join("/");
};
(async () => {
  const results = await Promise.all([0, 1, 2, 3].map(talk));
  document.getElementById("said").textContent = results.join(" ");
  await fetch("/release");
})();
</script><img src="/hold">"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A page over https that uses WebSockets of its own origin; it is loaded when they are done."""
    needed("chromium")
    root = Issuer("Browser Test Root")
    home_trusting(root, tmp_path)
    released = threading.Event()

    def hold(connection: BackendConnection, request: JudgedRequest) -> None:
        # The browser prints the page when all of it is there.
        released.wait(2 * DEADLINE_S)
        fixed(404, b"")(connection, request)

    def release(connection: BackendConnection, request: JudgedRequest) -> None:
        released.set()
        fixed()(connection, request)

    page = fixed(body=_PAGE.encode(), fields="Content-Type: text/html; charset=utf-8\r\n")
    handlers = {"/page": page, "/hold": hold, "/release": release}
    with Backend(by_target(handlers, fixed(404, b""))) as backend, echo_server() as port:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("web", "redirect_https = true"),
            cluster("chat", f"127.0.0.1:{port}", "/chat"),
            section("main", [root.leaf("a.example").save(tmp_path, "a")]),
        )
        with ProxyProcess(config) as proxy:
            yield Site(proxy, backend, tmp_path)
    with contextlib.suppress(OSError):
        shutil.rmtree(tmp_path / "profile")


def test_chromium(site: Site) -> None:
    """Chromium uses the connection of HTTP/2 that its page came by: text and binary come back byte for byte."""
    assert said(site.visit("https://a.example/page")) == ["true/chat.v1/true/4001"] * 4
    wait_for(lambda: len(_chats(site)) == 4, "the lines of all WebSockets")
    for line in _chats(site):
        assert (line["version"], line["status"], line["end"], line["method"]) == ("2.0", 200, "ok", "GET"), line
        assert line["tls"] == "TLSv1.3"
        assert line["bytes_in"] > 4000 and line["bytes_out"] > 4000


def _chats(site: Site) -> list[dict[str, Any]]:
    return [line for line in site.proxy.access_lines() if line["target"] == "/chat"]
