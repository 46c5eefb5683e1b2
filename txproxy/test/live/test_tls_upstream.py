"""TLS to backends: who is accepted, what is shown, and how it fails."""

from __future__ import annotations

import contextlib
import hashlib
import random
import ssl
import subprocess
from pathlib import Path

import pytest

from txproxy.test.authority import self_signed

from .client import wait_for
from .helpers import ENVIRONMENT, MIB, TXPROXY, at_once
from .peers import Backend, Client, ProxyProcess, never, unused_port
from .tls_clusters import AUTHORITY, GOOD, STRANGER, VERSIONS, ask, clusters, logs, saved, seen
from .tls_server import TlsPeer, TlsServer


def test_who_is_accepted(ca: str, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """T6: a certificate must be signed by whom we trust, hold now, and be for the name; else 502 tls-verify."""
    serve = stack.enter_context
    good = serve(TlsServer(GOOD)).address
    path = str(tmp_path / "socket")
    other = serve(TlsServer(AUTHORITY.identity("other.test"))).address
    selfsigned = serve(TlsServer(self_signed("app.test"))).address
    stranger = serve(TlsServer(STRANGER.identity("app.test", "127.0.0.1"))).address
    expired = serve(TlsServer(AUTHORITY.identity("app.test", ends_in_days=-1))).address
    pinned = tmp_path / "pinned.pem"
    pinned.write_bytes(GOOD.certificate)
    local = serve(TlsServer(AUTHORITY.identity("localhost")))
    serve(TlsServer(AUTHORITY.identity("app.test"), path=path))
    unknown, name = "is not signed by a known authority", "is not for app.test"
    trusted, named = f'ca = "{ca}"', f'ca = "{ca}", server_name = "app.test"'
    table = {
        "named": (good, named, ""),
        "address": (good, trusted, ""),
        "pinned": (good, f'ca = "{pinned}"', ""),
        "socket": (f"unix:{path}", named, ""),
        "resolved": (f"localhost:{local.port}", trusted, ""),
        "unverified": (expired, 'verify = false, server_name = "any.test"', ""),
        "wrong": (other, named, name),
        "selfsigned": (selfsigned, named, unknown),
        "stranger": (stranger, named, unknown),
        "expired": (expired, named, "has expired"),
        "noaddress": (good, f'ca = "{ca}", server_name = "10.9.8.7"', "is not for 10.9.8.7"),
        "system": (good, 'server_name = "app.test"', unknown),
    }
    config = clusters(**{cluster: (address, tls, "") for cluster, (address, tls, _) in table.items()})
    with ProxyProcess(config, level="debug") as proxy:
        for number, (cluster, (address, _, problem)) in enumerate(table.items(), 1):
            reply = ask(proxy, cluster)
            line = proxy.access_lines(number)[-1]
            if problem:
                assert (reply.status, line["end"]) == (502, "tls-verify"), (cluster, line)
                assert b"certificate" not in reply.body
                logs(proxy, f"backend {address} cannot be verified: the certificate {problem}")
                logs(proxy, f"tls-verify: the certificate {problem}")
            else:
                asked = {"address": None, "pinned": None, "unverified": "any.test", "resolved": "localhost"}
                assert seen(reply)["name"] == asked.get(cluster, "app.test"), cluster
                assert line["end"] == "ok"


def test_the_systems_authorities(ca: str, stack: contextlib.ExitStack) -> None:
    """Without ``ca`` it is the system's store; a system that has none is told of at the start."""
    server = stack.enter_context(TlsServer(GOOD))
    config = clusters(app=(server.address, 'server_name = "app.test"', ""))
    with ProxyProcess(config, environment={"SSL_CERT_FILE": ca, "SSL_CERT_DIR": "/nowhere"}) as proxy:
        assert seen(ask(proxy, "app"))["name"] == "app.test"
        assert "no backend will be accepted" not in proxy.error_text
    with ProxyProcess(config, environment={"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere"}) as proxy:
        assert "cluster app: no backend will be accepted" in proxy.error_text
        assert ask(proxy, "app").status == 502


@pytest.mark.parametrize("most", VERSIONS)
def test_client_certificate(ca: str, stack: contextlib.ExitStack, tmp_path: Path, most: ssl.TLSVersion) -> None:
    """It is shown to a backend that asks; without it, or with another, the request fails clearly, whatever its method."""
    server = stack.enter_context(TlsServer(GOOD, asks=AUTHORITY.certificate, most=most))
    plain = stack.enter_context(TlsServer(GOOD))
    base = f'ca = "{ca}", server_name = "app.test"'
    own = saved(tmp_path, "own", AUTHORITY.identity("proxy.test", common_name="the proxy"))
    other = saved(tmp_path, "other", STRANGER.identity("proxy.test"))
    config = clusters(
        given=(server.address, f"{base}, {own}", ""),
        missing=(server.address, base, ""),
        other=(server.address, f"{base}, {other}", ""),
        spare=(f"{server.address} {plain.address}", base, 'balance = "round_robin"'),
    )
    with ProxyProcess(config, level="debug") as proxy:
        assert seen(ask(proxy, "given"))["certificate"] == "the proxy"
        for cluster in ("missing", "other"):
            for more in ({}, {"method": "POST", "body": b"x" * 100_000}):
                assert ask(proxy, cluster, **more).status == 502
        lines = proxy.access_lines(5)
        assert [line["end"] for line in lines] == ["ok"] + ["connect-failed"] * 4
        log = proxy.error_text
        if most is ssl.TLSVersion.TLSv1_3:
            assert "it asks for a certificate of ours (certificate required)" in log
        assert "it does not accept our certificate (unknown ca)" in log
        # What was refused was not read: it goes to another backend, with its body.
        for _ in range(2):
            assert ask(proxy, "spare", method="POST", body=b"y" * 10_000).body == b"y" * 10_000
        assert max(line["tries"] for line in proxy.access_lines(7)) == 2


def test_handshakes_that_come_to_nothing(ca: str, stack: contextlib.ExitStack) -> None:
    """A backend that speaks no TLS, or something else by it, or does not come to an end: 502 and 504, each with words."""
    serve = stack.enter_context
    plain = serve(Backend(on_connect=lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    mute = serve(Backend(never()))
    old = serve(TlsServer(GOOD, most=ssl.TLSVersion.TLSv1_2))
    old.context.set_ciphers("AES128-SHA")  # A key exchange without forward secrecy.
    refused = f"127.0.0.1:{unused_port()}"
    tls, quick = f'ca = "{ca}"', "pool.connect_timeout_s = 0.3"
    config = clusters(
        plain=(plain.address, tls, ""),
        mute=(mute.address, tls, quick),
        old=(old.address, tls, ""),
        refused=(refused, tls, ""),
    )
    with ProxyProcess(config, level="debug") as proxy:
        for name, status, end, words in (
            ("plain", 502, "connect-failed", "it does not speak TLS"),
            ("mute", 504, "connect-timeout", "no TLS handshake in time"),
            ("old", 502, "connect-failed", "TLS handshake failed: "),
            ("refused", 502, "connect-failed", "connection refused"),
        ):
            assert ask(proxy, name).status == status
            logs(proxy, f"{end}: {words}")


def test_the_end_of_a_reply(ca: str, stack: contextlib.ExitStack) -> None:
    """A body that ends with the connection has ended if the backend says so by an alert; else it was cut (RFC 8446
    section 6.1), and no client takes what it got for all of it."""

    def talk(peer: TlsPeer) -> None:
        found = peer.request()
        assert found is not None
        if b"GET /length" in found[0]:
            peer.answer(b"all of it")
            return
        peer.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        if b"GET /clean" in found[0]:
            with contextlib.suppress(OSError):
                peer.socket.unwrap()

    server = stack.enter_context(TlsServer(GOOD, talk))
    with ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', ""))) as proxy:
        for target, end in (("/clean", "ok"), ("/cut", "reply-cut"), ("/length", "ok")):
            with Client(proxy.port) as client:
                client.send(f"GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode())
                assert client.read_until_closed()
                is_whole = client.received.endswith(b"0\r\n\r\n") or b"Content-Length: 9" in client.received
                assert is_whole == (end == "ok"), client.received
        assert [line["end"] for line in proxy.access_lines(3)] == ["ok", "reply-cut", "ok"]


def test_another_backend(ca: str, stack: contextlib.ExitStack) -> None:
    """R1: a backend that cannot be verified is as good as one that refuses: another gets the request, any method."""
    bad = stack.enter_context(TlsServer(STRANGER.identity("app.test")))
    good = stack.enter_context(TlsServer(GOOD))
    tls = f'ca = "{ca}", server_name = "app.test"'
    with ProxyProcess(clusters(a=(f"{bad.address} {good.address}", tls, ""))) as proxy, Client(proxy.port) as client:
        for _ in range(4):
            assert client.request(host="a.test", method="POST", body=b"x" * 20_000).body == b"x" * 20_000
        lines = proxy.access_lines(4)
    assert {line["backend"].rpartition(",")[2] for line in lines} == {good.address}
    assert sorted({line["tries"] for line in lines}) == [1, 2]
    assert not bad.peers


def test_bodies(ca: str, stack: contextlib.ExitStack) -> None:
    """D1: bodies of many records arrive byte for byte both ways, several at once."""
    server = stack.enter_context(TlsServer(GOOD))
    data = random.Random(5).randbytes(8 * MIB)
    with ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', ""))) as proxy:

        def exchange() -> None:
            reply = ask(proxy, "a", method="PUT", body=data)
            assert hashlib.sha256(reply.body).digest() == hashlib.sha256(data).digest()

        at_once([exchange] * 4)


def test_checks(ca: str, stack: contextlib.ExitStack) -> None:
    """C1, C2: checks by HTTP go over TLS as requests do, and say what is wrong; a check by TCP does not look."""
    good, bad = stack.enter_context(TlsServer(GOOD)), stack.enter_context(TlsServer(STRANGER.identity("app.test")))
    tls = f'ca = "{ca}", server_name = "app.test"'
    addresses = f"{good.address} {bad.address}"
    health = "health = { interval_s = 600, timeout_s = 20"
    config = clusters(
        http=(addresses, tls, health + ', path = "/health" }\npanic = false'),
        tls=(addresses, tls, health + ', type = "tls" }\npanic = false'),
        tcp=(addresses, tls, health + ', type = "tcp" }'),
    )
    with ProxyProcess(config) as proxy:
        for cluster in ("http", "tls"):
            words = "the first check failed: the certificate is not signed by a known authority"
            logs(proxy, f"backend {cluster} {bad.address}: checking -> down: {words}")
            logs(proxy, f"backend {cluster} {good.address}: checking -> up")
            for _ in range(4):
                assert seen(ask(proxy, cluster))["name"] == "app.test"
        logs(proxy, f"backend tcp {bad.address}: checking -> up")


def test_each_check_sees_the_certificate(ca: str, stack: contextlib.ExitStack) -> None:
    """C2: a check never goes on with a session, for it would not see the certificate that the backend has now."""
    server = stack.enter_context(TlsServer(GOOD))
    health = 'health = { type = "http", interval_s = 0.05, timeout_s = 20 }'
    with ProxyProcess(clusters(a=(server.address, f'ca = "{ca}"', health))) as proxy:
        assert ask(proxy, "a").status == 200
        wait_for(lambda: len(server.peers) >= 5, "checks")
    assert not any(peer.was_resumed for peer in server.peers)


def test_files_that_cannot_be_used(ca: str, tmp_path: Path) -> None:
    """The proxy does not start with them: one line names the key."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    saved(tmp_path, "own", AUTHORITY.identity("x"))
    for tls, key in (
        (f'ca = "{garbage}"', "tls.ca"),
        (f'ca = "{ca}", client_chain = "{garbage}", client_key = "{tmp_path}/own.key"', "tls.client_chain"),
        (f'ca = "{ca}", client_chain = "{tmp_path}/own.pem", client_key = "{garbage}"', "tls.client_key"),
    ):
        config = tmp_path / "proxy.toml"
        config.write_text(clusters(app=("127.0.0.1:9", tls, "")))
        done = subprocess.run(
            [*TXPROXY, "run", "-c", str(config)], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
        )
        assert done.returncode == 1
        assert f"cluster.app.{key}: " in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_left(ca: str, stack: contextlib.ExitStack) -> None:
    """Handshakes that fail leave no descriptors open."""
    bad = stack.enter_context(TlsServer(STRANGER.identity("app.test")))
    good = stack.enter_context(TlsServer(GOOD))
    config = clusters(bad=(bad.address, f'ca = "{ca}"', ""), good=(good.address, f'ca = "{ca}"', "pool.max_idle = 0"))
    with ProxyProcess(config) as proxy:
        for name in ("bad", "good"):
            ask(proxy, name)
        before = proxy.fd_count()
        for _ in range(30):
            assert ask(proxy, "bad").status == 502
            assert ask(proxy, "good").status == 200
        wait_for(lambda: proxy.fd_count() <= before, "descriptors to be closed")
