"""Health checks of every type against real servers: the ways to be well, and the many ways not to be."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from txproxy.test.authority import Authority, Identity

from .helpers import ENVIRONMENT
from .peers import DEADLINE_S, BlackHole, unused_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NEVER_TIMED_OUT = {"timeout_s": 2 * DEADLINE_S}
"""Of checks whose outcome must not depend on how fast this machine is."""
SOON = {"timeout_s": 0.5}
"""Of checks that can only end by their timeout."""

Talk = Callable[[socket.socket], None]


class Case(NamedTuple):
    """A check and what it must find."""

    check: dict[str, Any]
    verdict: str
    """Empty if it passes; else the reason, or its beginning if it ends in three dots."""


class Server:
    """A server of one test; a context manager.

    :param talk: called with each accepted connection, in a thread of its own; the connection is closed afterwards.
    :param family: of its address; a unix socket is at ``path``.
    """

    def __init__(self, talk: Talk, family: int = socket.AF_INET, path: str = "") -> None:
        self._talk = talk
        self._socket = socket.socket(family)
        self._socket.bind(path if path else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._socket.listen(50)
        self.is_over = threading.Event()
        self.target = {
            "name": "app",
            "hosts": [] if path else [self._socket.getsockname()[0]],
            "port": 0 if path else self._socket.getsockname()[1],
            "path": path,
        }
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            accepted.settimeout(2 * DEADLINE_S)
            self._talk(accepted)


def head_read(connection: socket.socket) -> bytes:
    """Return the request that has come."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def until_gone(connection: socket.socket) -> None:
    """Wait until the peer has left."""
    while connection.recv(65536):
        pass


def says(*pieces: bytes, then: Talk = until_gone) -> Talk:
    """Read a request, answer it, and do something then."""

    def talk(connection: socket.socket) -> None:
        head_read(connection)
        for piece in pieces:
            connection.sendall(piece)
        then(connection)

    return talk


def without_end(piece: bytes, pause_s: float = 0.0, first: bytes = b"") -> Talk:
    """Read a request and say the same thing until the peer has left."""

    def talk(connection: socket.socket) -> None:
        head_read(connection)
        connection.sendall(first)
        pause = threading.Event()
        while True:
            connection.sendall(piece)
            pause.wait(pause_s)

    return talk


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes(connection: socket.socket) -> None:
    """Leave at once."""


def silent(connection: socket.socket) -> None:
    until_gone(connection)


def greets(data: bytes) -> Talk:
    """Speak first, and wait for the peer to leave."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(data)
        until_gone(connection)

    return talk


def resets_when_asked(connection: socket.socket) -> None:
    connection.recv(65536)
    resets(connection)


def echo_of_host(connection: socket.socket) -> None:
    request = head_read(connection)
    (host,) = (line for line in request.split(b"\r\n") if line.startswith(b"Host: "))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(host), host))


@pytest.fixture(params=["default", "txproxy"])
def run(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """Runs cases in one process, under one of the reactors, and checks what they found and that nothing is left."""

    def run_cases(*cases: Case) -> dict[str, Any]:
        process = subprocess.run(
            [sys.executable, "-m", "txproxy.test.live.prober", f"--reactor={request.param}"],
            input=json.dumps([case.check for case in cases]),
            capture_output=True,
            text=True,
            timeout=4 * DEADLINE_S,
            env=ENVIRONMENT,
        )
        assert process.returncode == 0 and not process.stderr, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)
        for case, verdict in zip(cases, found["verdicts"], strict=True):
            if case.verdict.endswith("..."):
                assert verdict.startswith(case.verdict[:-3]), case
            else:
                assert verdict == case.verdict, case
        assert found["left"] == {"descriptors": 0, "calls": [], "errors": [], "connections": 0}
        return found

    return run_cases


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **more: stack.enter_context(Server(*arguments, **more))


def test_http(run: Any, servers: Any, tmp_path: Path) -> None:
    """C1: every kind of reply, on every kind of address, all checks at once."""
    cases = []
    for talk, settings, verdict in (
        (says(OK), {}, ""),
        (says(OK), {"body": "ok"}, ""),
        (says(OK), {"body": "OK"}, "the body does not contain 'OK'"),
        (says(*(OK[i : i + 1] for i in range(len(OK)))), {"body": "ok"}, ""),
        (says(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK), {}, ""),
        (says(b"HTTP/1.0 200 OK\r\n\r\nall is ok", then=closes), {"body": "ok"}, ""),
        (says(CHUNKED + b"1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"), {"body": "ok"}, ""),
        (says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), {}, ""),
        (says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), {"statuses": ["200-299"]}, "status 302"),
        (says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), {}, "status 500"),
        (says(then=closes), {}, "closed before its reply"),
        (says(then=resets), {}, "connection lost before its reply"),
        (says(OK[:-1], then=closes), {}, "the reply was cut"),
        (says(b"nonsense\r\n\r\n"), {}, "malformed reply: ..."),
        (says(b"HTTP/1.1 200 OK\r\nX: " + bytes(1 << 20)), {}, "malformed reply: ..."),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000), {}, "malformed reply: ..."),
        (without_end(b"HTTP/1.1 100 Continue\r\n\r\n"), {}, "malformed reply: interim replies without end"),
        (without_end(b"x" * 65536, first=b"HTTP/1.1 200 OK\r\n\r\n"), {}, ""),
        (
            without_end(b"x" * 65536, first=b"HTTP/1.1 200 OK\r\n\r\n"),
            {"body": "ok"},
            "the first 64 KiB of the body do ...",
        ),
        (without_end(b"8000\r\n" + b"x" * 32768 + b"\r\n", first=CHUNKED), {}, ""),
        (without_end(b"x", 0.05, first=b"HTTP/1.1 200 OK\r\n\r\n"), SOON, "no ..."),
        (without_end(b"H", 0.2), SOON, "no ..."),
        (silent, SOON, "no ..."),
    ):
        cases.append(Case({"settings": {**NEVER_TIMED_OUT, **settings}, "target": servers(talk).target}, verdict))
    six = servers(echo_of_host, socket.AF_INET6)
    path = str(tmp_path / "socket")
    for server, host_field, host in (
        (six, "[::1]:8080", ""),
        (servers(echo_of_host, socket.AF_UNIX, path), "localhost", ""),
    ):
        target = {**server.target, "host_field": host_field}
        cases.append(
            Case({"settings": {**NEVER_TIMED_OUT, "body": f"Host: {host_field}", "host": host}, "target": target}, "")
        )
    run(*cases)


def test_connecting(run: Any, servers: Any, tmp_path: Path) -> None:
    """C2: refused, accepted, in no hurry, nobody there; two addresses of which one is dead; what is given up."""
    good, mail = servers(silent), servers(greets(b"220 mail\r\n"))
    port = good.target["port"]
    refused = {"name": "x", "hosts": ["127.0.0.1"], "port": unused_port()}
    with BlackHole() as hole:
        lost = {"name": "x", "hosts": ["127.0.0.1"], "port": hole.port}

        def tcp(target: dict[str, Any], verdict: str, more: dict[str, Any] | None = None, **check: Any) -> Case:
            return Case({"settings": {"type": "tcp", **(more or NEVER_TIMED_OUT)}, "target": target, **check}, verdict)

        run(
            tcp(good.target, ""),
            tcp(mail.target, ""),
            tcp(servers(closes).target, ""),
            tcp({**good.target, "hosts": ["::1", "127.0.0.1"]}, ""),
            tcp({**good.target, "hosts": ["127.0.0.1", "::1"]}, ""),
            tcp({"name": "x", "hosts": ["127.0.0.2", "127.0.0.1"], "port": port}, ""),
            tcp({**refused, "hosts": ["::1", "127.0.0.1"]}, "::1: connection refused; 127.0.0.1: connection refused"),
            tcp(refused, "connection refused"),
            tcp({"name": "x", "hosts": [], "port": 0, "path": str(tmp_path / "none")}, "no such file or directory"),
            tcp(lost, "no connection in 0.5 s", SOON),
            tcp(lost, "CancelledError", cancel_after_s=0.2),
            Case(
                {"settings": NEVER_TIMED_OUT, "target": servers(silent).target, "cancel_after_s": 0.2}, "CancelledError"
            ),
            Case({"settings": NEVER_TIMED_OUT, "target": refused}, "connection refused"),
        )


def ends(connection: socket.socket) -> None:
    """Leave in good order: with a close alert."""
    assert isinstance(connection, ssl.SSLSocket)
    with contextlib.suppress(OSError):
        connection.unwrap()


def tls_talk(identity: Identity, folder: Path, talk: Talk = until_gone, context: ssl.SSLContext | None = None) -> Talk:
    """Shake hands with a certificate; then do something."""
    path = folder / f"{len(list(folder.iterdir()))}.pem"
    path.write_bytes(identity.certificate + identity.key)
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def secured(connection: socket.socket) -> None:
        try:
            wrapped = context.wrap_socket(connection.dup(), server_side=True)
        except ssl.SSLError:
            # Closing with bytes unread would reset the connection, and the alert might be lost.
            connection.shutdown(socket.SHUT_WR)
            until_gone(connection)
            return
        connection.close()
        with wrapped:
            talk(wrapped)

    return secured


def test_tls(run: Any, servers: Any, tmp_path: Path) -> None:
    """C2: who is trusted, for which name and until when; and servers that speak no TLS or do not come to an end."""
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    folder = tmp_path / "servers"
    folder.mkdir()
    good = authority.identity("app.test", "127.0.0.1", "::1")
    stranger = Authority("Stranger").identity("app.test")
    lonely = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    unknown, verified = "the certificate is not signed by a known authority", {"ca": str(ca)}
    cases = []
    for talk, name, tls, verdict in (
        (tls_talk(good, folder), "app.test", verified, ""),
        (tls_talk(good, folder), "127.0.0.1", verified, ""),
        (tls_talk(good, folder), "::1", verified, ""),
        (tls_talk(good, folder), "10.0.0.1", {**verified, "server_name": "app.test"}, ""),
        (tls_talk(good, folder), "app.test", {}, unknown),
        (tls_talk(good, folder), "other.test", verified, "the certificate is not for other.test"),
        (tls_talk(good, folder), "other.test", {"verify": False}, ""),
        (tls_talk(stranger, folder), "app.test", verified, unknown),
        (tls_talk(stranger, folder), "app.test", {"verify": False}, ""),
        (
            tls_talk(authority.identity("app.test", ends_in_days=-1), folder),
            "app.test",
            verified,
            "the certificate has expired",
        ),
        (greets(lonely), "app.test", verified, "it does not speak TLS"),
        (greets(b"220 mail\r\n"), "app.test", verified, "it does not speak TLS"),
        (closes, "app.test", verified, "closed during the TLS handshake"),
        (resets_when_asked, "app.test", verified, "closed during the TLS handshake"),
        (
            lambda connection: connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28"),
            "app.test",
            verified,
            "TLS handshake failed: ...",
        ),
    ):
        target = {**servers(talk).target, "server_name": name}
        cases.append(Case({"settings": {**NEVER_TIMED_OUT, "type": "tls", "tls": tls}, "target": target}, verdict))
        # A check by HTTP fails for the same reasons.
        if verdict:
            target = {**servers(talk).target, "server_name": name}
            cases.append(Case({"settings": {**NEVER_TIMED_OUT, "tls": tls}, "target": target}, verdict))
    mute = {**servers(silent).target, "server_name": "app.test"}
    cases.append(
        Case({"settings": {**SOON, "type": "tls", "tls": verified}, "target": mute}, "no TLS handshake in 0.5 s")
    )
    for talk, settings, verdict in (
        (says(OK), {"body": "ok"}, ""),
        (says(b"HTTP/1.1 503 X\r\n\r\n"), {}, "status 503"),
        (says(then=closes), {}, "c..."),
        (says(b"HTTP/1.0 200 OK\r\n\r\nall is ok", then=closes), {"body": "nothing"}, "the reply was cut"),
        (says(b"HTTP/1.0 200 OK\r\n\r\nall is ok", then=ends), {"body": "all is ok"}, ""),
        (silent, SOON, "no ..."),
    ):
        target = {**servers(tls_talk(good, folder, talk)).target, "server_name": "app.test"}
        cases.append(Case({"settings": {**NEVER_TIMED_OUT, "tls": verified, **settings}, "target": target}, verdict))
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(ca)
    target = {**servers(tls_talk(good, folder, says(OK), asking)).target, "server_name": "app.test"}
    words = "it asks for a certificate of ours (certificate required)"
    cases.append(Case({"settings": {**NEVER_TIMED_OUT, "tls": verified}, "target": target}, words))
    run(*cases)


def test_what_the_backend_sees(run: Any, servers: Any) -> None:
    """A backend that has answered sees an ordinary end of the connection, not a reset, which servers complain of."""
    ends: list[str] = []

    def talk(connection: socket.socket) -> None:
        request = head_read(connection)
        if request:
            connection.sendall(OK)
        try:
            ends.append("closed" if not connection.recv(1) else "data")
        except ConnectionResetError:
            ends.append("reset")

    server = servers(talk)
    run(
        Case({"settings": NEVER_TIMED_OUT, "target": server.target}, ""),
        Case({"settings": {**NEVER_TIMED_OUT, "type": "tcp"}, "target": server.target}, ""),
    )
    deadline = threading.Event()
    for _ in range(100):
        if len(ends) == 2:
            break
        deadline.wait(DEADLINE_S / 100)
    assert ends == ["closed", "closed"]
