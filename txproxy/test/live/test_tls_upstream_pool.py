"""TLS to backends: which connections and sessions are shared; and nginx and openssl as backends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .client import wait_for
from .peers import Client, PeerProxy, ProxyProcess, unused_port
from .test_real_peers import needed
from .tls_clusters import AUTHORITY, GOOD, VERSIONS, ask, clusters, saved, seen
from .tls_server import TlsPeer, TlsServer


def test_sharing(ca: str, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """P1: a hundred requests use one connection; clusters that ask for another name, or show another certificate, or
    trust others, have connections and sessions of their own, though the server is the same."""
    server = stack.enter_context(TlsServer(GOOD))
    one = saved(tmp_path, "one", AUTHORITY.identity("one.test"))
    tls = {
        "a": f'ca = "{ca}", server_name = "app.test"',
        "b": f'ca = "{ca}", server_name = "b.test"',
        "again": f'ca = "{ca}", server_name = "app.test"',
        "shown": f'ca = "{ca}", server_name = "app.test", {one}',
        "blind": 'verify = false, server_name = "app.test"',
    }
    with ProxyProcess(clusters(**{name: (server.address, each, "") for name, each in tls.items()})) as proxy:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in tls}
        for _ in range(20):
            for name in tls:
                found[name].append(seen(ask(proxy, name)))
    connections = {name: {each["connection"] for each in replies} for name, replies in found.items()}
    assert sorted(connections.values(), key=min) == [{0}, {1}, {2}, {3}, {4}]
    assert {name: replies[0]["name"] for name, replies in found.items()} == {
        **dict.fromkeys(tls, "app.test"),
        "b": "b.test",
    }
    assert not any(peer.was_resumed for peer in server.peers)


@pytest.mark.parametrize("most", VERSIONS)
def test_resumption(ca: str, stack: contextlib.ExitStack, most: ssl.TLSVersion) -> None:
    """The second connection to a backend goes on with the session of the first; after an abort, too."""
    server = stack.enter_context(TlsServer(GOOD, most=most))
    tls, more = f'ca = "{ca}", server_name = "app.test"', "pool.max_idle = 0"
    with ProxyProcess(clusters(a=(server.address, tls, more), b=(server.address, tls, more))) as proxy:
        for name in ("a", "b"):
            for number in range(4):
                found = seen(ask(proxy, name))
                assert (found["requests"], found["resumed"]) == (1, number > 0)
    with ProxyProcess(clusters(a=(server.address, tls, ""))) as proxy:
        for number in range(3):
            with Client(proxy.port) as client:
                assert seen(client.request(host="a.test"))["resumed"] is (number > 0)
                # A client that leaves in the middle of a body has the connection to the backend reset.
                client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhalf")
            assert proxy.access_lines(2 * number + 2)[-1]["end"] == "bad-body"


def test_hundred_requests(ca: str, stack: contextlib.ExitStack) -> None:
    """P1: one connection carries them all; the session tickets that come with the first are no unsolicited bytes (P2)."""
    server = stack.enter_context(TlsServer(GOOD))
    with (
        ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', "")), level="debug") as proxy,
        Client(proxy.port) as client,
    ):
        for number in range(100):
            if number % 2:
                assert client.request(host="a.test", method="POST", body=b"x").body == b"x"
            else:
                assert seen(client.request(host="a.test"))["requests"] == number + 1
    assert len(server.peers) == 1


def test_connections_in_advance(ca: str, stack: contextlib.ExitStack) -> None:
    """A connection that was made in advance has got tickets while nobody read: it is good for any method."""
    server = stack.enter_context(TlsServer(GOOD))
    with ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', "pool.min_idle = 1"))) as proxy:
        wait_for(lambda: server.peers, "a connection in advance")
        assert ask(proxy, "a", method="POST", body=b"first").body == b"first"
    assert server.peers[0].requests == 1


def test_idle_connection_closed(ca: str, stack: contextlib.ExitStack) -> None:
    """P2: a backend that closes an idle connection, with an alert or without one, costs no request."""

    def once(peer: TlsPeer) -> None:
        if peer.request() is not None:
            peer.answer(b"once")
        if peer.number % 2:
            with contextlib.suppress(OSError):
                peer.socket.unwrap()

    server = stack.enter_context(TlsServer(GOOD, once))
    with ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', ""))) as proxy, Client(proxy.port) as client:
        for _ in range(6):
            assert client.request(host="a.test").body == b"once"


def test_nginx(ca: str, tmp_path: Path) -> None:
    """nginx behind TLS: pooled connections, sessions that are gone on with, and a client certificate that it knows."""
    program = needed("nginx")
    saved(tmp_path, "server", GOOD)
    shown = saved(tmp_path, "own", AUTHORITY.identity("proxy.test", common_name="the proxy"))
    told = "$ssl_server_name $ssl_session_reused $connection_requests $ssl_client_s_dn $ssl_protocol"
    configuration = f"""
        user root; daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            keepalive_requests 10; default_type text/plain;
            server {{
                listen 127.0.0.1:PORT ssl;
                ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.key;
                ssl_client_certificate {ca}; ssl_verify_client optional; ssl_session_cache shared:all:1m;
                ssl_protocols TLSv1.2 TLSv1.3;
                location / {{ return 200 "{told}"; }}
            }}
        }}
    """
    with PeerProxy([program, "-c"], configuration) as nginx:
        tls = f'ca = "{ca}", server_name = "app.test", {shown}'
        with ProxyProcess(clusters(a=(f"127.0.0.1:{nginx.port}", tls, ""))) as proxy, Client(proxy.port) as client:
            replies = [client.request(host="a.test").body.decode() for _ in range(30)]
            lines = proxy.access_lines(30)
    assert {line["end"] for line in lines} == {"ok"}
    assert replies == [
        f"app.test {'r' if number >= 10 else '.'} {number % 10 + 1} CN=the proxy TLSv1.3" for number in range(30)
    ]


def test_openssl(ca: str, tmp_path: Path) -> None:
    """``openssl s_server`` as a backend agrees: ALPN, SNI and a session that is gone on with."""
    program = needed("openssl")
    saved(tmp_path, "server", GOOD)
    port = unused_port()
    command = [program, "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-alpn", "http/1.1",
               "-cert", f"{tmp_path}/server.pem", "-key", f"{tmp_path}/server.key"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:

            def listens() -> bool:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return True
                return False

            wait_for(listens, "s_server")
            with ProxyProcess(clusters(a=(f"127.0.0.1:{port}", f'ca = "{ca}"', ""))) as proxy:
                bodies = [ask(proxy, "a").body for _ in range(3)]
        finally:
            server.kill()
    assert b"New, TLSv1.3" in bodies[0]
    assert b"Reused, TLSv1.3" in bodies[1] and b"Reused, TLSv1.3" in bodies[2]
