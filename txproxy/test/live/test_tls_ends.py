"""Bytes within TLS, however they are cut; and how connections end: cleanly or not, on either side."""

from __future__ import annotations

import hashlib
import random
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backend import BackendConnection, Handler
from .client import DEADLINE_S, pieces_of, wait_for
from .helpers import MIB
from .judge import JudgedRequest
from .peers import Backend, ProxyProcess, by_target, close_without_reply, fixed, never, streamed
from .tls_client import TlsClient, fails_with, trusting
from .tls_front import front, listener, section
from .tls_identities import Issuer

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SIZE = 16 * MIB


def _cut_chunks(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    connection.close()


def _both_ways(connection: BackendConnection, request: JudgedRequest) -> None:
    """As ``on_head``: answer a request for ``/both`` at its head, while its body still comes."""
    if request.target == b"/both":
        data = random.Random(2).randbytes(SIZE)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
        threading.Thread(target=connection.send, args=(head + data,), daemon=True).start()


_HANDLERS: dict[str, Handler] = {
    "/never": never(),
    "/chunks": streamed([b"hello ", b"world"]),
    "/cut": _cut_chunks,
    "/gone": close_without_reply(),
    "/both": lambda connection, request: None,
    "/large": fixed(body=bytes(SIZE)),
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """Answers by target, and echoes what has no answer of its own."""
    with Backend(by_target(_HANDLERS), on_head=_both_ways, body_limit=1 << 16, record_limit=1 << 20) as one:
        yield one


@pytest.fixture(scope="module")
def proxy(backend: Backend) -> Iterator[ProxyProcess]:
    """A usual listener, and one whose idle connections end soon."""
    directory = Path(tempfile.mkdtemp(prefix="txproxy-ends-"))
    config = front(
        backend.address,
        listener("https", 'tls = "main"'),
        listener("brief", 'tls = "main"\nkeepalive_timeout_s = 1'),
        section("main", [Issuer().leaf("a.example").save(directory, "a")]),
        '[[route]]\nname = "limited"\npath = "/limited"\ncluster = "origin"\nmax_body_bytes = 1000\n',
    )
    with ProxyProcess(config) as process:
        yield process
    assert backend.violations == []
    shutil.rmtree(directory)


@pytest.fixture(params=VERSIONS, ids=["tls12", "tls13"])
def client(proxy: ProxyProcess, request: pytest.FixtureRequest) -> Iterator[TlsClient]:
    """A connection, of each version."""
    with TlsClient(proxy.ports["https"], context=trusting(version=request.param)) as one:
        yield one


def _request(target: str, method: str = "GET", fields: str = "", version: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: a.example\r\n{fields}\r\n".encode()


def _line(proxy: ProxyProcess, target: str) -> dict[str, object]:
    """Return the line of the access log for a target, once it is there."""

    def lines() -> list[dict[str, object]]:
        return [line for line in proxy.access_lines() if line["target"] == target]

    wait_for(lines, f"the line of {target}")
    (line,) = lines()
    return line


# However it is cut


@pytest.mark.parametrize("version", VERSIONS)
def test_every_byte_in_a_packet_of_its_own(proxy: ProxyProcess, version: ssl.TLSVersion) -> None:
    """D4: handshake, request and reply are the same if every record comes byte by byte."""
    with TlsClient(proxy.ports["https"], context=trusting(version=version), handshake=False) as client:
        client.handshake(lambda data: pieces_of(data, "bytes"))
        for piece in pieces_of(client.encrypted(_request("/bytes", "POST", "Content-Length: 3\r\n") + b"abc"), "bytes"):
            client.send_raw(piece)
        reply = client.reply()
        assert (reply.status, reply.body) == (200, b"abc")


def test_every_byte_in_a_record_of_its_own(client: TlsClient) -> None:
    """D4: records of a byte each, all in one packet: what OpenSSL has read already does not wait for the next packet."""
    data = _request("/records", "POST", "Content-Length: 3\r\n") + b"abc"
    client.send_raw(b"".join(client.encrypted(data[at : at + 1]) for at in range(len(data))))
    reply = client.reply()
    assert (reply.status, reply.body) == (200, b"abc")


def test_many_requests_in_one_packet(client: TlsClient) -> None:
    """Pipelined requests, each in a record of its own and all in one packet, are answered in order."""
    client.send_raw(b"".join(client.encrypted(_request(f"/many/{number}")) for number in range(50)))
    for number in range(50):
        assert f'"target": "/many/{number}"' in (client.reply().value("X-Echo") or "")


def test_the_largest_records(backend: Backend, client: TlsClient) -> None:
    """Bodies in records of 16 KiB, more of them than are read at once, are kept in order and whole."""
    data = random.Random(1).randbytes(MIB)
    client.send(_request("/records/large", "PUT", f"Content-Length: {MIB}\r\n"))
    client.send_raw(client.encrypted(data))
    assert client.reply().body == data[: 1 << 16], "the echo holds as much as the backend keeps"
    got = [each for each in backend.requests if each.target == b"/records/large"][-1]
    assert (got.body_length, got.body_sha256) == (MIB, hashlib.sha256(data).hexdigest())


def test_sixteen_mebibytes_both_ways(proxy: ProxyProcess, backend: Backend, client: TlsClient) -> None:
    """D1: an upload and a reply at once, to a client that pauses and reads slowly: both whole, memory stays flat."""
    upload = random.Random(3).randbytes(SIZE)
    # All of it is encrypted first, so that OpenSSL is only ever used by one thread.
    records = client.encrypted(_request("/both", "POST", f"Content-Length: {SIZE}\r\n") + upload)
    before = len([each for each in backend.requests if each.target == b"/both"])
    size, sizes = proxy.rss_bytes(), []
    sending = threading.Thread(target=client.socket.sendall, args=(records,), daemon=True)
    client.socket.settimeout(4 * DEADLINE_S)
    sending.start()
    time.sleep(0.5)
    sizes.append(proxy.rss_bytes())
    while not client.closed and len(client.received) < SIZE:
        client.read_some(1 << 16)
        sizes.append(proxy.rss_bytes())
        time.sleep(0.001)
    assert client.reply("POST").body == random.Random(2).randbytes(SIZE)
    sending.join(4 * DEADLINE_S)
    wait_for(lambda: len([each for each in backend.requests if each.target == b"/both"]) > before, "the upload")
    got = [each for each in backend.requests if each.target == b"/both"][-1]
    assert (got.body_length, got.body_sha256) == (SIZE, hashlib.sha256(upload).hexdigest())
    assert max(sizes) < size + 4 * MIB, (size, max(sizes))


def test_a_client_that_reads_nothing(proxy: ProxyProcess) -> None:
    """HF2: a reply that is not read is not taken from the backend either; the rest comes when it is read."""
    with TlsClient(proxy.ports["https"], receive_buffer=1 << 16) as client:
        size = proxy.rss_bytes()
        client.send(_request("/large"))
        time.sleep(0.5)
        assert proxy.rss_bytes() < size + 4 * MIB
        assert client.reply(timeout_s=4 * DEADLINE_S).body == bytes(SIZE)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_that_comes_with_the_end_of_the_handshake(proxy: ProxyProcess, version: ssl.TLSVersion) -> None:
    """The last message of the handshake and a request in one packet: no further packet is needed for the reply."""
    with TlsClient(proxy.ports["https"], context=trusting(version=version), handshake=False) as client:
        to_send, is_done = client.step()
        while not is_done:
            client.send_raw(to_send)
            client.take_handshake()
            to_send, is_done = client.step()
        # With TLS 1.2 the server has the last word, so that there is nothing left to send.
        client.send_raw(to_send + client.encrypted(_request("/together")))
        assert client.reply().status == 200


# How the proxy ends it


def test_a_refusal_can_be_read(client: TlsClient) -> None:
    """Q4: a request line that is too long is answered, and the connection then ends cleanly."""
    client.send(_request("/" + "x" * 9000))
    assert client.reply().status == 414
    client.half_close()
    assert client.read_until_closed() and client.was_clean and not client.was_reset


def test_a_refusal_can_be_read_by_who_still_sends(proxy: ProxyProcess) -> None:
    """Q5: an upload that is too large is refused at its head; a client that is still sending can read why."""
    with TlsClient(proxy.ports["https"]) as client:
        client.send(_request("/limited", "POST", "Content-Length: 3000000\r\n") + bytes(30_000))
        assert client.reply().status == 413
        client.send(bytes(20_000))
        client.half_close()
        assert client.read_until_closed() and not client.was_reset


def test_a_last_reply_ends_cleanly(client: TlsClient) -> None:
    """A connection that is closed after a reply ends with a close alert, so that nobody suspects it was cut."""
    client.send(_request("/last", fields="Connection: close\r\n"))
    assert client.reply().status == 200
    assert client.read_until_closed() and client.was_clean and not client.was_reset


def test_a_body_that_ends_with_the_connection(client: TlsClient) -> None:
    """A client of HTTP/1.0 gets a body whose only end is the connection's: it is a clean one."""
    client.send(_request("/chunks", version="1.0"))
    assert client.read_until_closed() and client.was_clean
    assert client.reply().body == b"hello world"


def test_a_body_that_was_cut_does_not_end_cleanly(client: TlsClient) -> None:
    """The backend is cut within such a body: no close alert says that it was whole (RFC 9112 section 9.8)."""
    client.send(_request("/cut", version="1.0"))
    assert client.read_until_closed() and not client.was_clean
    assert client.received.endswith(b"hello")


def test_a_cut_chunked_body_stays_unfinished(client: TlsClient) -> None:
    """The same for HTTP/1.1: the last chunk never comes."""
    client.send(_request("/cut"))
    assert client.read_until_closed()
    assert not client.reply().complete


def test_an_idle_connection_is_closed_cleanly(proxy: ProxyProcess) -> None:
    """Q7: at the end of its time an idle connection gets a close alert."""
    with TlsClient(proxy.ports["brief"]) as client:
        assert client.request().status == 200
        assert client.read_until_closed() and client.was_clean


def test_a_stop_ends_idle_connections_cleanly(tmp_path: Path) -> None:
    """G5: SIGTERM: a request under way is answered, idle connections end with a close alert, new ones are refused."""
    leaf = Issuer().leaf("a.example").save(tmp_path, "a")
    with Backend(by_target({"/slow": streamed([b"a", b"b", b"c"], 0.3)})) as backend:
        process = ProxyProcess(front(backend.address, listener("https", 'tls = "main"'), section("main", [leaf])))
        try:
            port = process.port
            with TlsClient(port) as idle, TlsClient(port) as busy, TlsClient(port, handshake=False):
                assert idle.request().status == 200
                busy.send(_request("/slow"))
                assert busy.read_until(lambda: b"\r\n\r\n" in busy.received)
                stopping = threading.Thread(target=process.process.terminate)
                stopping.start()
                assert idle.read_until_closed() and idle.was_clean
                assert busy.reply().body == b"abc"
                assert busy.read_until_closed() and busy.was_clean
                stopping.join()
                process.process.wait(DEADLINE_S)
            assert process.process.returncode == 0, process.error_text
            process.assert_no_bugs()
        finally:
            process.kill()
            shutil.rmtree(process.directory, ignore_errors=True)


# How the client ends it


def _leave(client: TlsClient, how: str) -> None:
    if how == "alert and end":
        client.half_close()
    elif how == "alert only":
        client.send_close_alert()
    elif how == "reset":
        client.reset()
    else:
        client.cut()


@pytest.mark.parametrize("how", ["alert and end", "alert only", "end only", "reset"])
def test_a_client_that_leaves_frees_the_backend(
    proxy: ProxyProcess, backend: Backend, client: TlsClient, how: str
) -> None:
    """HF20: however a client leaves while the backend works, the backend is let go at once, and 499 is logged."""
    target = f"/never/{how.replace(' ', '-')}/{client.tls.version()}"
    client.send(_request(target))

    def serving() -> list[BackendConnection]:
        return [each for each in backend.connections if any(one.target == target.encode() for one in each.requests)]

    wait_for(serving, "the request")
    _leave(client, how)
    assert serving()[0].gone.wait(20)
    line = _line(proxy, target)
    assert (line["status"], line["end"]) == (499, "client-left")


@pytest.mark.parametrize("how", ["alert and end", "alert only", "end only", "reset"])
def test_an_upload_that_is_cut_is_never_complete(
    proxy: ProxyProcess, backend: Backend, client: TlsClient, how: str
) -> None:
    """HF20: a client that leaves within its upload leaves no complete request, not even by a clean close alert."""
    target = f"/upload/{how.replace(' ', '-')}/{client.tls.version()}"
    client.send(_request(target, "POST", "Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")

    def serving() -> list[BackendConnection]:
        return [
            each for each in backend.connections if each.judge.current and each.judge.current.target == target.encode()
        ]

    wait_for(serving, "the head")
    connection = serving()[0]
    _leave(client, how)
    assert connection.gone.wait(20)
    assert target.encode() not in {each.target for each in backend.requests}
    assert _line(proxy, target)["end"] in ("client-left", "bad-body")


def test_who_says_farewell_and_stays_is_let_go(proxy: ProxyProcess, client: TlsClient) -> None:
    """A client that sends a close alert but does not close gets one in return, and the connection is closed."""
    assert client.request().status == 200
    client.send_close_alert()
    assert client.read_until_closed() and client.was_clean


def test_nothing_is_left_of_all_this(proxy: ProxyProcess) -> None:
    """Connections that ended in all these ways leave no descriptor behind."""
    # Connections to backends may idle; no client is there any more.
    wait_for(lambda: _sockets_of_clients(proxy) == 0, "connections of clients to be closed")
    assert not fails_with(proxy.ports["https"])


def _sockets_of_clients(proxy: ProxyProcess) -> int:
    ports = {f"{port:04X}" for port in proxy.ports.values()}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state = line.split()[:4]
        # 01: established, 08: the peer has closed and we have not.
        count += local.rpartition(":")[2] in ports and state in ("01", "08")
    return count
