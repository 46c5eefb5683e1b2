"""The PROXY protocol on both sides, spoken with curl, HAProxy and nginx."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from txproxy.test.wire.proxy_headers import MALFORMED, read_header, tlv, v2

from .helpers import TXPROXY, Command, at_once, get
from .peers import Backend, Client, PeerProxy, ProxyProcess, config_for, wait_for
from .test_real_peers import needed
from .tls_clusters import AUTHORITY, GOOD, saved

_LINE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56789 8443\r\n"
_BINARY = v2(bytes((203, 0, 113, 7, 198, 51, 100, 1, 0xDD, 0xD5, 0x20, 0xFB)) + tlv(2, b"app.test"))
_GET = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
_TRUSTED = '[proxy]\ntrusted_proxies = ["127.0.0.1", "unix"]\n'
_OTHER = "127.0.0.77"
"""An address of this machine that is no trusted proxy."""


def section(folder: Path) -> str:
    """Return a section ``tls.main``, with its certificate."""
    saved(folder, "main", GOOD)
    pair = f'{{ chain = "{folder}/main.pem", key = "{folder}/main.key" }}'
    return f"[tls.main]\ncertificates = [{pair}]\n"


def behind(backend: str, folder: Path, keys: str = "", more: str = "") -> str:
    """Return a configuration with listeners that expect headers: ``web`` and ``https``."""
    https = f'[[listener]]\nname = "https"\naddress = "127.0.0.1:0"\nproxy_protocol = true\ntls = "main"\n{keys}\n'
    listener = f"proxy_protocol = true\n{keys}"
    return config_for(backend, listener=listener, more=https + section(folder) + _TRUSTED + more)


def fetch(*arguments: str) -> bytes:
    """Return what curl prints, from an address that is not trusted by itself."""
    return subprocess.run(  # the command line is the test's own
        [needed("curl"), "-sSk", "--max-time", "30", *arguments], capture_output=True, check=True, timeout=60
    ).stdout


def over_tls(port: int, first: bytes, *, bytewise: bool = False, together: bool = False) -> bytes:
    """Make a request over TLS behind some first bytes; return all that comes.

    :param bytewise: each of the first bytes in a packet of its own.
    :param together: in one packet with the beginning of the handshake.
    """
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context.wrap_bio(incoming, outgoing, server_hostname="app.test")
    with Client(port) as client:
        if bytewise:
            for index in range(len(first)):
                client.socket.sendall(first[index : index + 1])
                time.sleep(0.001)
        elif not together:
            client.socket.sendall(first)
        ahead = first if together else b""
        received = b""
        step = talk.do_handshake
        while True:
            try:
                step()
                if step == talk.do_handshake:
                    talk.write(_GET)
                    step = lambda: None  # noqa: E731 - there is nothing to do but read
                data = talk.read(65536)
                if not data:
                    return received
                received += data
            except ssl.SSLWantReadError:
                client.socket.sendall(ahead + outgoing.read())
                ahead = b""
                data = client.socket.recv(65536)
                if not data:
                    return received
                incoming.write(data)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return received


def said(port: int, pieces: Iterable[bytes], address: str = "127.0.0.1") -> bytes:
    """Send pieces in a packet each, and return all that comes.

    :param address: where from.
    """
    with socket.create_connection(("127.0.0.1", port), 30, (address, 0)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.001)
            while data := client.recv(65536):
                received += data
        except (ConnectionError, BrokenPipeError):
            pass
        return received


def single(data: bytes) -> list[bytes]:
    """Return bytes one by one."""
    return [data[index : index + 1] for index in range(len(data))]


def sources(backend: Backend) -> list[bytes | None]:
    """Return whom the backend has been told of, request by request."""
    return [request.value(b"X-Forwarded-For") for request in backend.requests]


def test_however_it_comes(backend: Backend, tmp_path: Path) -> None:
    """L3: the client is who the header says, by http and https, one byte per packet or all in one."""
    with ProxyProcess(behind(backend.address, tmp_path)) as proxy:
        web, https = proxy.ports["web"], proxy.ports["https"]
        for header in (_LINE, _BINARY):
            for pieces in ([header + _GET], [header, _GET], single(header + _GET)):
                assert said(web, pieces).startswith(b"HTTP/1.1 200 OK\r\n")
            assert over_tls(https, header).startswith(b"HTTP/1.1 200 OK\r\n")
            assert over_tls(https, header, bytewise=True).startswith(b"HTTP/1.1 200 OK\r\n")
            assert over_tls(https, header, together=True).startswith(b"HTTP/1.1 200 OK\r\n")
        assert sources(backend) == [b"203.0.113.7"] * 12
        assert {request.value(b"X-Forwarded-Port") for request in backend.requests} == {b"8443"}
        lines = proxy.access_lines(12)
        assert {line["client"] for line in lines} == {"203.0.113.7"}
        assert lines[0]["proxy"] == {"destination": "198.51.100.1:8443"}
        assert lines[-1]["proxy"] == {"destination": "198.51.100.1:8443", "authority": "app.test"}
    assert backend.violations == []


def test_malformed_and_untrusted(backend: Backend, tmp_path: Path) -> None:
    """L3: they are closed without a word, and nothing reaches the backend; the log says why, once each."""
    with ProxyProcess(behind(backend.address, tmp_path)) as proxy:
        web, https = proxy.ports["web"], proxy.ports["https"]
        hello = bytes.fromhex("16030100050100000100")
        for data in (*MALFORMED, hello, _GET):
            for pieces in ([data + _GET], [*single(data[:20]), data[20:] + _GET]):
                for port in (web, https):
                    assert said(port, pieces) == b"", data
        for port in (web, https):
            assert said(port, [_LINE + _GET], _OTHER) == b""
            assert said(port, [], _OTHER) == b""
        count = 4 * (len(MALFORMED) + 2)

        def logged(reason: str) -> int:
            return proxy.error_text.count(f"was closed by {reason}: ")

        wait_for(lambda: logged("bad-proxy-header") >= count, "a line for each")
        assert (logged("bad-proxy-header"), logged("untrusted-proxy")) == (count, 4)
        assert said(web, [_LINE + _GET]).startswith(b"HTTP/1.1 200 OK\r\n")
        assert sources(backend) == [b"203.0.113.7"]
        assert len(proxy.access_lines(1)) == 1


def test_a_header_that_does_not_come(backend: Backend, tmp_path: Path) -> None:
    """Whoever begins a header and stops is closed in time, and costs nothing meanwhile."""
    with ProxyProcess(behind(backend.address, tmp_path, "header_timeout_s = 2")) as proxy:
        before = proxy.cpu_seconds()
        at_once(
            [
                lambda port=port, start=start: said(port, [start])
                for port in proxy.ports.values()
                for start in (_LINE[:20], _BINARY[:20], b"")
            ]
        )
        assert proxy.cpu_seconds() - before < 1
        assert said(proxy.ports["web"], [_LINE + _GET]).startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(backend.requests) == 1


def test_stopping_waits_for_no_header(backend: Backend, tmp_path: Path) -> None:
    """A proxy that stops closes those that have not said who they are."""
    files = {"proxy.toml": behind(backend.address, tmp_path)}
    with Command([*TXPROXY, "run", "-c", "proxy.toml"], files) as proxy, Client(proxy.ports["web"]) as client:
        assert client.send(_LINE[:20])
        assert said(proxy.ports["web"], [_LINE + _GET])
        assert proxy.end(signal.SIGTERM) == 0
        assert client.read_until_closed()
        assert "bad-proxy-header" not in proxy.text
        assert "Traceback" not in proxy.text


def test_curl(backend: Backend, tmp_path: Path) -> None:
    """curl --haproxy-protocol, by http and https, HTTP/1.1 and HTTP/2."""
    with ProxyProcess(behind(backend.address, tmp_path)) as proxy:
        web, https = f"http://127.0.0.1:{proxy.ports['web']}/", f"https://127.0.0.1:{proxy.ports['https']}/"
        for arguments in (
            ["--http1.1", web, web],
            ["--http2-prior-knowledge", web],
            ["--http1.1", https],
            ["--http2", https],
        ):
            fetch("--haproxy-protocol", "--data", "x", *arguments)
        assert sources(backend) == [b"127.0.0.1"] * 5
        assert {line["client"] for line in proxy.access_lines(5)} == {"127.0.0.1"}


def test_unix(backend: Backend, tmp_path: Path) -> None:
    """A listener on a unix socket, whose peers are trusted by a word."""
    path = tmp_path / "socket"
    listener = f'[[listener]]\nname = "local"\naddress = "unix:{path}"\nproxy_protocol = true\n'
    with ProxyProcess(config_for(backend.address, more=listener + _TRUSTED)):
        for header in (_LINE, _BINARY):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(path))
                for piece in [*single(header), _GET]:
                    client.sendall(piece)
                received = b""
                while data := client.recv(65536):
                    received += data
                assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sources(backend) == [b"203.0.113.7"] * 2


def balancer(mode: str, server: str, bind: str = "") -> PeerProxy:
    """Return an HAProxy in front of a server.

    :param server: its address and how it is spoken to.
    :param bind: how clients are spoken with.
    """
    return PeerProxy(
        [needed("haproxy"), "-db", "-f"],
        f"defaults\n mode {mode}\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"frontend web\n bind 127.0.0.1:PORT {bind}\n default_backend origin\n"
        f"backend origin\n server origin {server}\n",
    )


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_haproxy_in_front(backend: Backend, tmp_path: Path, mode: str, option: str) -> None:
    """Plain http through HAProxy: the client is HAProxy's, and each connection has one."""
    with (
        ProxyProcess(behind(backend.address, tmp_path)) as proxy,
        balancer(mode, f"127.0.0.1:{proxy.ports['web']} {option}") as front,
    ):
        url = f"http://127.0.0.1:{front.port}/"
        for address in (_OTHER, "127.0.0.78"):
            fetch("--interface", address, url, url)
        assert sources(backend) == [_OTHER.encode()] * 2 + [b"127.0.0.78"] * 2
        assert [line["client"] for line in proxy.access_lines(4)] == [_OTHER] * 2 + ["127.0.0.78"] * 2
        assert {line["proxy"]["destination"] for line in proxy.access_lines(4)} == {f"127.0.0.1:{front.port}"}
    assert backend.violations == []


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_tls_through(backend: Backend, tmp_path: Path, option: str) -> None:
    """TLS that HAProxy does not read: SNI, ALPN and HTTP/2 behind the header."""
    with (
        ProxyProcess(behind(backend.address, tmp_path)) as proxy,
        balancer("tcp", f"127.0.0.1:{proxy.ports['https']} {option}") as front,
    ):
        place = [
            "--interface",
            _OTHER,
            "--resolve",
            f"app.test:{front.port}:127.0.0.1",
            f"https://app.test:{front.port}/",
        ]
        for version in ("--http1.1", "--http2"):
            assert fetch(version, "--data", "x", "-w", "%{http_version}", *place)
        assert sources(backend) == [_OTHER.encode()] * 2
        lines = proxy.access_lines(2)
        assert [(line["client"], line["version"]) for line in lines] == [(_OTHER, "1.1"), (_OTHER, "2.0")]
        assert {line["tls"] for line in lines} == {"TLSv1.3"}


def test_haproxy_ends_tls(backend: Backend, tmp_path: Path) -> None:
    """What HAProxy says of the client's TLS is in the log."""
    section(tmp_path)
    pem = tmp_path / "both.pem"
    pem.write_bytes(GOOD.certificate + GOOD.key)
    option = "send-proxy-v2-ssl-cn proxy-v2-options authority,crc32c,ssl,cert-cn,ssl-cipher"
    with (
        ProxyProcess(behind(backend.address, tmp_path)) as proxy,
        balancer("http", f"127.0.0.1:{proxy.ports['web']} {option}", f"ssl crt {pem} alpn http/1.1") as front,
    ):
        place = ["--resolve", f"app.test:{front.port}:127.0.0.1", f"https://app.test:{front.port}/"]
        fetch("--interface", _OTHER, *place)
        (line,) = proxy.access_lines(1)
        assert (line["client"], line["tls"]) == (_OTHER, None)
        said_by = line["proxy"]
        assert (said_by["authority"], said_by["tls"]) == ("app.test", "TLSv1.3"), said_by


_TELL = "%[src] %[src_port] %[dst] %[fc_pp_authority]"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind(tmp_path: Path, version: str, tls: bool) -> None:
    """An HAProxy that requires headers is told of each client, before TLS to it too, and accepts our checks."""
    section(tmp_path)
    pem, ca = tmp_path / "both.pem", tmp_path / "ca.pem"
    pem.write_bytes(GOOD.certificate + GOOD.key)
    ca.write_bytes(AUTHORITY.certificate)
    bind = f"accept-proxy {f'ssl crt {pem}' if tls else ''}"
    configuration = (
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"frontend web\n bind 127.0.0.1:PORT {bind}\n"
        f' http-request return status 200 content-type text/plain lf-string "{_TELL}"\n'
    )
    keys = f'send_proxy_protocol = "{version}"\nhealth = {{ path = "/" }}\npanic = false\n'
    if tls:
        keys += f'tls = {{ enabled = true, ca = "{ca}", server_name = "app.test" }}\n'
    https = f'[[listener]]\nname = "https"\naddress = "127.0.0.1:0"\ntls = "main"\n{section(tmp_path)}'
    with PeerProxy([needed("haproxy"), "-db", "-f"], configuration) as origin:
        config = config_for(f"127.0.0.1:{origin.port}", cluster=keys, more=https)
        with ProxyProcess(config) as proxy:
            url = f"http://127.0.0.1:{proxy.ports['web']}/"
            for address in (_OTHER, "127.0.0.78", _OTHER):
                answers = fetch("--interface", address, url, "-w", "\n", url).decode().split("\n")[:2]
                for answer in answers:
                    found = re.fullmatch(r"(\S+) (\d+) (\S+) ?(.*)", answer)
                    assert found is not None, answer
                    assert (found[1], found[3]) == (address, "127.0.0.1")
                assert answers[0] == answers[1]  # One connection of the client has one port.
            port = proxy.ports["https"]
            answer = fetch("--resolve", f"app.test:{port}:127.0.0.1", f"https://app.test:{port}/").decode()
            assert answer.endswith(" app.test") == (version == "v2"), answer
            assert [line["status"] for line in proxy.access_lines(7)] == [200] * 7
            assert "-> down" not in proxy.error_text


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind(tmp_path: Path, version: str) -> None:
    """An nginx that requires headers knows client and port; many at once are never mixed up."""
    configuration = """
        daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events { worker_connections 512; }
        http {
            access_log off; client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            server {
                listen 127.0.0.1:PORT proxy_protocol;
                location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port"; }
            }
        }
    """
    with (
        PeerProxy([needed("nginx"), "-c"], configuration) as origin,
        ProxyProcess(
            config_for(
                f"127.0.0.1:{origin.port}", cluster=f'send_proxy_protocol = "{version}"\npool.max_connections = 4'
            )
        ) as proxy,
    ):

        def ask() -> None:
            with Client(proxy.port) as client:
                port = client.socket.getsockname()[1]
                for _ in range(20):
                    reply = client.request("/")
                    assert reply.body == f"127.0.0.1 {port} {proxy.port}".encode()

        at_once([ask] * 12)
        assert get(proxy.port).status == 200


@pytest.mark.parametrize("chooses", [False, True])
def test_tcp(tmp_path: Path, chooses: bool) -> None:
    """Bytes that are passed through unread: the source of one header is that of the next, and no byte is lost."""
    with socket.create_server(("127.0.0.1", 0)) as origin:
        origin.settimeout(30)
        targets = 'sni_clusters = { "app.test" = "app" }' if chooses else 'cluster = "app"'
        config = (
            f'[[listener]]\nname = "raw"\naddress = "127.0.0.1:0"\nprotocol = "tcp"\nproxy_protocol = true\n{targets}\n'
            f'[cluster.app]\nbackends = [{{ address = "127.0.0.1:{origin.getsockname()[1]}" }}]\n'
            f'send_proxy_protocol = "v2"\n{_TRUSTED}'
        )
        outgoing = ssl.MemoryBIO()
        talk = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="app.test")
        with pytest.raises(ssl.SSLWantReadError):
            talk.do_handshake()
        first = outgoing.read() if chooses else b"any bytes"
        with ProxyProcess(config) as proxy:
            for header in (_LINE, _BINARY):
                with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
                    for piece in single(header):
                        client.sendall(piece)
                    client.sendall(first)
                    client.shutdown(socket.SHUT_WR)
                    accepted, _ = origin.accept()
                    with accepted:
                        accepted.settimeout(30)
                        received = b""
                        while data := accepted.recv(65536):
                            received += data
                        found, taken = read_header([received])
                        assert found is not None
                        assert (found.source, found.destination) == (("203.0.113.7", 56789), ("198.51.100.1", 8443))
                        assert received[taken:] == first
                        accepted.sendall(b"bye")
                    assert client.recv(100) == b"bye"
            assert said(proxy.port, [_LINE + first], _OTHER) == b""
            assert said(proxy.port, [b"any bytes"]) == b""
            lines = proxy.access_lines(2)
            assert [line["client"] for line in lines] == ["203.0.113.7"] * 2
            assert lines[1]["proxy"] == {"destination": "198.51.100.1:8443", "authority": "app.test"}
