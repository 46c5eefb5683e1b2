"""Limits of heads, bodies, connections and descriptors."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from .helpers import MIB, Command, clients_of, get
from .peers import Backend, Client, ProxyProcess, config_for, raw_exchange, wait_for


def padded(size: int) -> bytes:
    """Return field lines of exactly so many bytes, each under the limit of one field."""
    lines = b""
    while size - len(lines) > 8000:
        lines += b"X: " + b"y" * (4000 - 5) + b"\r\n"
    return lines + b"X: " + b"y" * (size - len(lines) - 5) + b"\r\n"


@pytest.mark.parametrize("split", [None, [3000, 9000, 20000]])
def test_heads_have_limits(proxy: ProxyProcess, backend: Backend, split: list[int] | None) -> None:
    """Q4: 33 KiB of fields, one field over 16 KiB, 129 fields: 431; a 9 KiB target: 414; closed, nothing upstream."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    refused = {
        431: [head + padded(33 * 1024), head + b"X: 1\r\n" * 128, head + b"X: " + b"y" * 17_000 + b"\r\n"],
        414: [b"GET /" + b"a" * 9216 + b" HTTP/1.1\r\nHost: a\r\n"],
    }
    for status, heads in refused.items():
        for one in heads:
            exchanged = raw_exchange(
                proxy.port, one + b"\r\n", split=[at for at in split if at < len(one)] if split else None
            )
            assert exchanged.statuses == [status]
            assert exchanged.closed
    assert backend.connections == []
    assert [line["end"] for line in proxy.access_lines(4)] == ["headers-too-large"] * 3 + ["uri-too-long"]
    # What is within the limits passes.
    assert raw_exchange(proxy.port, head + padded(31 * 1024) + b"\r\n", replies=1).statuses == [200]
    assert raw_exchange(proxy.port, head + b"X: 1\r\n" * 127 + b"\r\n", replies=1).statuses == [200]
    assert raw_exchange(proxy.port, b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", replies=1).statuses == [
        200
    ]


def test_limits_are_settings(backend: Backend) -> None:
    """Q4: each limit of a head is a key of the listener."""
    listener = "max_request_line_bytes = 100\nmax_header_bytes = 1000\nmax_field_bytes = 500\nmax_fields = 5"
    with ProxyProcess(config_for(backend.address, listener=listener)) as proxy:
        assert get(proxy.port, "/" + "a" * 60).status == 200
        assert get(proxy.port, "/" + "a" * 200).status == 414
        assert get(proxy.port, fields="X: 1\r\n" * 3).status == 200
        assert get(proxy.port, fields="X: 1\r\n" * 6).status == 431
        assert get(proxy.port, fields="X: " + "y" * 600 + "\r\n").status == 431
        assert get(proxy.port, fields=("X: " + "y" * 300 + "\r\n") * 4).status == 431


def test_declared_bodies_over_the_limit_never_go_upstream() -> None:
    """Q5: 413 for a Content-Length over max_body_bytes before any upstream contact; the client can read the reply."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, route="max_body_bytes = 1000")) as proxy:
        assert get(proxy.port, method="POST", body=b"x" * 1000).status == 200
        count = len(backend.requests)
        for body in (b"x" * 1001, b"x" * 50_000):
            assert get(proxy.port, method="POST", body=body).status == 413
        assert len(backend.requests) == count
        lines = proxy.access_lines(3)
    assert [line["end"] for line in lines[1:]] == ["body-too-large"] * 2
    assert [line["tries"] for line in lines[1:]] == [0, 0]


def test_chunked_bodies_over_the_limit_are_aborted() -> None:
    """Q5: a chunked body that passes the limit is 413, and the backend never sees a complete request."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, route="max_body_bytes = 100000")) as proxy:
        head = b"POST /over HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        with Client(proxy.port) as client:
            client.send(head + chunk)
            wait_for(lambda: backend.connections and backend.connections[0].received_count > 1000, "the first chunk")
            client.send(chunk * 20 + b"0\r\n\r\n")
            client.read_until_closed()
            assert client.exchanged().statuses == [413]
        (line,) = proxy.access_lines(1)
        assert line["end"] == "body-too-large"
        wait_for(lambda: not backend.open_connections, "the upstream connection to be aborted")
        assert backend.requests == []
        assert get(proxy.port, method="POST", body=b"x").status == 200


def test_over_the_limit_of_connections_accepting_pauses() -> None:
    """Q8: above max_connections new ones wait in the backlog, those that are there are served, one line says so."""
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, more="[proxy]\nmax_connections = 5")) as proxy,
        clients_of(proxy.port, 5) as first,
    ):
        for client in first:
            assert client.request().status == 200
        with clients_of(proxy.port, 5) as later:
            for client in later:
                client.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(3):
                for client in first:
                    assert client.request().status == 200
            spent = proxy.cpu_seconds()
            time.sleep(1)
            assert proxy.cpu_seconds() - spent < 0.5, "the proxy spins while accepting is paused"
            assert all(request.target != b"/later" for request in backend.requests)
            for left, client in enumerate(later):
                first[left].close()
                assert client.reply().status == 200
        paused = [line for line in proxy.error_text.splitlines() if "accepted" in line]
        # Whoever stays at the limit for long must not fill the log with each connection that comes and goes.
        assert len(paused) == 1, paused


def test_a_peer_has_a_limit_too(backend: Backend) -> None:
    """Q8: ``max_connections_per_ip`` closes what is over it, and nothing else."""
    with (
        ProxyProcess(config_for(backend.address, listener="max_connections_per_ip = 2")) as proxy,
        clients_of(proxy.port, 2) as clients,
    ):
        for client in clients:
            assert client.request().status == 200
        with Client(proxy.port) as third:
            assert third.read_until_closed()
            assert third.received == b""
        assert clients[0].request().status == 200
        clients[1].close()
        deadline = time.monotonic() + 30
        while True:
            with Client(proxy.port) as again:
                again.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                if again.read_until(lambda again=again: b" 200 " in again.received):
                    break
            assert time.monotonic() < deadline


def test_running_out_of_descriptors_is_no_loop() -> None:
    """Q8: with too few descriptors the proxy neither spins nor floods its log nor dies, and recovers."""
    shell = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); os.execv(sys.argv[1], sys.argv[1:])"
    # Without CAP_SYS_RESOURCE the limit holds for a process of root too.
    dropped = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]
    with Backend() as backend:
        access = "access.log"
        config = config_for(backend.address, more=f'[log]\naccess = "{access}"\n')
        command = [
            *dropped,
            sys.executable,
            "-c",
            shell,
            sys.executable,
            "-m",
            "txproxy.main",
            "run",
            "-c",
            "proxy.toml",
        ]
        with Command(command, {"proxy.toml": config}) as proxy:
            limits = Path(f"/proc/{proxy.pid}/limits").read_text()
            assert re.search(r"Max open files +64 ", limits), limits
            with Client(proxy.port) as early:
                assert early.request().status == 200
                with clients_of(proxy.port, 150):
                    time.sleep(1)
                    spent, logged = proxy.cpu_seconds(), len(proxy.text)
                    time.sleep(2)
                    assert proxy.cpu_seconds() - spent < 1, "the proxy spins"
                    assert len(proxy.text) - logged < 100_000, proxy.text[-2000:]
                    # An exchange that needs no new descriptor goes on.
                    assert early.request().status == 200
            wait_for(lambda: get(proxy.port).status == 200, "service to come back")
            assert proxy.process.poll() is None


def test_descriptors_and_memory_return(proxy: ProxyProcess) -> None:
    """D2, D13: after many connections and requests the process is as big as before."""

    def load(count: int) -> None:
        for _ in range(count):
            with Client(proxy.port) as client:
                for _ in range(10):
                    assert client.request("/", "POST", body=b"x" * 1000).status == 200

    load(100)
    descriptors, memory = proxy.fd_count(), proxy.rss_bytes()
    load(300)
    with clients_of(proxy.port, 300) as clients:
        for client in clients:
            assert client.request().status == 200
    # One idle connection to the backend may have been at its last request when they were counted.
    wait_for(lambda: proxy.fd_count() <= descriptors + 1, "the descriptors to return")
    assert proxy.rss_bytes() - memory < 5 * MIB
