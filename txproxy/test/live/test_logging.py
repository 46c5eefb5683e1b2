"""The access log and the application log."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from .helpers import TXPROXY, Command, at_once, get
from .judge import JudgedRequest
from .peers import (
    Backend,
    BackendConnection,
    BlackHole,
    Client,
    ProxyProcess,
    by_target,
    close_without_reply,
    config_for,
    echo,
    never,
    raw,
    raw_exchange,
    unused_port,
    wait_for,
)
from .test_forwarding import seen

FIELDS = [
    "ts",
    "client",
    "method",
    "host",
    "target",
    "version",
    "status",
    "bytes_in",
    "bytes_out",
    "route",
    "cluster",
    "backend",
    "tries",
    "cache",
    "queue_ms",
    "connect_ms",
    "first_byte_ms",
    "transfer_ms",
    "total_ms",
    "end",
    "request_id",
    "tls",
    "user_agent",
    "referer",
]


def check(line: dict[str, Any]) -> None:
    """Check what holds for each line."""
    assert set(FIELDS) <= set(line), set(FIELDS) - set(line)
    phases = [line[name] for name in ("queue_ms", "connect_ms", "first_byte_ms", "transfer_ms")]
    assert all(phase >= 0 for phase in phases), line
    assert abs(sum(phases) - line["total_ms"]) <= 1, line
    assert line["end"] and line["request_id"], line
    assert abs(line["ts"] - time.time()) < 600


def test_every_exchange_makes_one_line() -> None:
    """O1: whatever its end, with timings that add up and a reason."""
    cut = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", then_close=True)
    answers = by_target(
        {"/cut": cut, "/bad": raw(b"nonsense\r\n\r\n"), "/never": never(), "/close": close_without_reply()}, echo()
    )
    config = (
        '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\nheader_timeout_s = 1\nbody_timeout_s = 1\n'
        '[[route]]\nname = "all"\nhosts = ["a.example"]\ncluster = "c"\nmax_body_bytes = 50\n'
        '[[route]]\nname = "dead"\nhosts = ["dead.example"]\ncluster = "dead"\n'
        '[[route]]\nname = "hole"\nhosts = ["hole.example"]\ncluster = "hole"\n'
        '[cluster.c]\nbackends = [{{ address = "{}" }}]\ntimeouts.first_byte_s = 1\n'
        '[cluster.dead]\nbackends = [{{ address = "127.0.0.1:{}" }}]\n'
        '[cluster.hole]\nbackends = [{{ address = "{}" }}]\npool.connect_timeout_s = 1\n'
    )
    with (
        Backend(answers) as backend,
        BlackHole() as hole,
        ProxyProcess(config.format(backend.address, unused_port(), hole.address)) as proxy,
    ):
        host = b"Host: a.example\r\n"
        asked = {
            "ok": b"GET /ok HTTP/1.1\r\n" + host + b"\r\n",
            "no-route": b"GET /none HTTP/1.1\r\nHost: other.example\r\n\r\n",
            "connect-failed": b"GET /dead HTTP/1.1\r\nHost: dead.example\r\n\r\n",
            "connect-timeout": b"GET /hole HTTP/1.1\r\nHost: hole.example\r\n\r\n",
            "reply-cut": b"GET /cut HTTP/1.1\r\n" + host + b"\r\n",
            "bad-reply": b"POST /bad HTTP/1.1\r\nContent-Length: 0\r\n" + host + b"\r\n",
            "reply-timeout": b"GET /never HTTP/1.1\r\n" + host + b"\r\n",
            "bad-request": b"GET /twice HTTP/1.1\r\n" + host + host + b"\r\n",
            "bad-body": b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host + b"\r\nzz\r\n",
            "bad-coding": b"POST /gzip HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + host + b"\r\n0\r\n\r\n",
            "bad-version": b"GET /two HTTP/2.0\r\n" + host + b"\r\n",
            "uri-too-long": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + host + b"\r\n",
            "headers-too-large": b"GET /large HTTP/1.1\r\n" + host + b"X: 1\r\n" * 200 + b"\r\n",
            "body-too-large": b"POST /over HTTP/1.1\r\nContent-Length: 51\r\n" + host + b"\r\n",
            "request-timeout": b"GET /slow HTTP/1.1\r\nHost:",
            "client-left": b"GET /never/left HTTP/1.1\r\n" + host + b"\r\n",
        }

        def ask(reason: str) -> None:
            with Client(proxy.port) as client:
                client.send(asked[reason])
                if reason == "client-left":
                    wait_for(
                        lambda: any(request.target == b"/never/left" for request in backend.requests), "the request"
                    )
                    return
                if reason == "reply-cut":
                    client.read_until_closed()  # who leaves with its first bytes may be gone before the cut
                client.read_until(lambda: client.received)

        at_once(lambda reason=reason: ask(reason) for reason in asked)
        lines = proxy.access_lines(len(asked))
        for line in lines:
            check(line)
        found = [line["end"] for line in lines]
        assert sorted(found) == sorted(asked)
        statuses = {line["end"]: line["status"] for line in lines}
    expected = {
        "ok": 200, "no-route": 404, "connect-failed": 502, "connect-timeout": 504, "reply-cut": 200, "bad-reply": 502,
        "reply-timeout": 504, "bad-request": 400, "bad-body": 400, "bad-coding": 501, "bad-version": 505,
        "uri-too-long": 414, "headers-too-large": 431, "body-too-large": 413, "request-timeout": 408, "client-left": 499,
    }  # fmt: skip
    assert statuses == expected


def test_a_line_tells_what_happened(proxy: ProxyProcess, backend: Backend) -> None:
    """O1: the fields of one line, for one request."""
    reply = get(
        proxy.port,
        "/a?b=%20c",
        method="POST",
        body=b"12345",
        fields="User-Agent: test/1\r\nReferer: http://r.example/\r\n",
    )
    (line,) = proxy.access_lines(1)
    check(line)
    del line["ts"]
    for name in ("queue_ms", "connect_ms", "first_byte_ms", "transfer_ms", "total_ms"):
        del line[name]
    assert line.pop("request_id") == reply.value("X-Request-Id")
    wanted = {
        "client": "127.0.0.1", "method": "POST", "host": "a.example", "target": "/a?b=%20c", "version": "1.1", "status": 200,
        "bytes_in": 5, "bytes_out": 5, "route": "all", "cluster": "origin", "backend": backend.address, "tries": 1,
        "end": "ok", "user_agent": "test/1", "referer": "http://r.example/",
    }  # fmt: skip
    assert {name: line[name] for name in wanted} == wanted


def test_combined_lines_cannot_be_forged(backend: Backend, tmp_path: Path) -> None:
    """O1: the combined format, one line per exchange; what a client sends ends no line and no quotes."""
    access = tmp_path / "access.log"
    config = config_for(backend.address, more=f'[log]\naccess = "{access}"\n')
    with ProxyProcess(config) as proxy:
        get(proxy.port, "/plain", fields="User-Agent: curl/8\r\nReferer: http://r.example/\r\n")
        get(proxy.port, '/"x"', fields='User-Agent: a" 200 1 "-" "b\\\r\n')
        raw_exchange(proxy.port, b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n")
        raw_exchange(proxy.port, b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\r\n\r\n", replies=1)
        wait_for(lambda: access.exists() and access.read_text().count("\n") >= 4, "four lines")
    lines = access.read_text(encoding="ascii").splitlines()
    assert len(lines) == 4
    quoted = r'"((?:[^"\\]|\\.)*)"'
    pattern = re.compile(
        rf"127\.0\.0\.1 - - \[(\d\d/\w{{3}}/\d{{4}}:\d\d:\d\d:\d\d \+0000)\] {quoted} (\d+) (\d+) {quoted} {quoted} (\S.*)"
    )
    found = [pattern.fullmatch(line) for line in lines]
    assert all(found), lines
    first = found[0]
    assert first is not None
    assert first.groups()[1:6] == ("GET /plain HTTP/1.1", "200", "0", "http://r.example/", "curl/8")
    assert lines[0].endswith(" ok") and lines[2].endswith(" bad-request")


def test_ids_are_the_same_everywhere(proxy: ProxyProcess) -> None:
    """O5: an id is made, the same in log, upstream field, reply and error page; a stranger's is replaced."""
    reply = get(proxy.port, fields="X-Request-Id: forged-by-a-client\r\n")
    (upstream,) = seen(reply)["values"]["x-request-id"]
    other = get(proxy.port)
    refused = raw_exchange(proxy.port, b"GET / HTTP/1.1\r\n\r\n").reply
    lines = proxy.access_lines(3)
    assert upstream == reply.value("X-Request-Id") == lines[0]["request_id"] != "forged-by-a-client"
    assert other.value("X-Request-Id") == lines[1]["request_id"] != upstream
    assert refused.value("X-Request-Id") == lines[2]["request_id"]
    assert lines[2]["request_id"].encode() in refused.body


def test_debug_shows_an_exchange_under_its_id(backend: Backend) -> None:
    """D12: at level debug states, timings and the choice of backend stand under one request id; at info nothing does."""
    shown = {}
    for level in ("debug", "info"):
        with ProxyProcess(config_for(backend.address), level=level) as proxy:
            reply = get(proxy.port, "/looked-for")
            bad = raw_exchange(proxy.port, b"GET /\x01evil HTTP/1.1\r\nHost: a\r\n\r\n").reply
            proxy.access_lines(2)
            shown[level] = (reply.value("X-Request-Id") or "", bad.value("X-Request-Id") or "", proxy)
            if level == "debug":
                wait_for(lambda: proxy.error_text.count(" total ") >= 2, "the debug log")  # noqa: B023
            text = proxy.error_text
        good_id, bad_id = shown[level][:2]
        good = "\n".join(line for line in text.splitlines() if good_id in line)
        refused = "\n".join(line for line in text.splitlines() if bad_id in line)
        if level == "debug":
            assert "/looked-for" in good and backend.address in good and "origin" in good
            assert re.search(r"total [0-9.]+ ms", good) and "route all" in good
            assert "bad-request" in refused and "\x01" not in text
            assert "evil" in refused, "the escaped bytes of what was refused"
        else:
            assert good == refused == ""


def test_logs_are_reopened(backend: Backend) -> None:
    """SIGUSR1 opens the access log anew after it was moved away, and no line is lost."""
    with ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        for _ in range(5):
            assert client.request("/before").status == 200
        proxy.access_lines(5)
        moved = proxy.access_path.with_suffix(".1")
        proxy.access_path.rename(moved)
        assert client.request("/between").status == 200
        proxy.process.send_signal(signal.SIGUSR1)
        wait_for(proxy.access_path.exists, "the new file")
        for _ in range(3):
            assert client.request("/after").status == 200
        new = [line["target"] for line in proxy.access_lines(3)]
        old = [json.loads(line)["target"] for line in moved.read_text().splitlines()]
    assert sorted(old + new) == sorted(["/before"] * 5 + ["/between"] + ["/after"] * 3)
    assert old[:5] == ["/before"] * 5
    assert new[-3:] == ["/after"] * 3


def test_an_application_log_in_a_file(backend: Backend, tmp_path: Path) -> None:
    """G2: log.path takes the application log; the start still says on which address it listens."""
    path, access = tmp_path / "app.log", tmp_path / "access.log"
    port = unused_port()
    config = config_for(backend.address, more=f'[log]\npath = "{path}"\naccess = "{access}"\nformat = "json"\n')
    config = config.replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"')
    with Command([*TXPROXY, "run", "-c", "proxy.toml"], {"proxy.toml": config}, ready=None) as proxy:
        wait_for(lambda: path.exists() and " ready" in path.read_text(), "ready")
        assert get(port).status == 200
        wait_for(lambda: access.exists() and access.read_text().count("\n") == 1, "one line")
        assert proxy.end(signal.SIGTERM) == 0
        assert f"listening on http://127.0.0.1:{port} (web)" in path.read_text()
        assert "stopped" in path.read_text()
        assert proxy.text == ""


def test_a_full_disk_stops_nobody(backend: Backend) -> None:
    """O1: lines that cannot be written are lost, and the log says so; requests are served, and the stop is clean."""
    config = config_for(backend.address, more='[log]\naccess = "access.log"\nformat = "json"\n')
    shell = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); os.execv(sys.argv[1], sys.argv[1:])"
    with (
        Command([sys.executable, "-c", shell, *TXPROXY, "run", "-c", "proxy.toml"], {"proxy.toml": config}) as proxy,
        Client(proxy.port) as client,
    ):
        for _ in range(150):
            assert client.request().status == 200
        wait_for(lambda: "access log cannot be written" in proxy.text, "a line that says so")
        assert client.request().status == 200
        client.close()
        assert proxy.end(signal.SIGTERM) == 0
        assert "Traceback" not in proxy.text
        lines = (proxy.directory / "access.log").read_text().splitlines()
    assert len(lines) > 20
    for line in lines[:-1]:
        check(json.loads(line))


def test_bytes_are_counted() -> None:
    """O1: bytes_in and bytes_out are content, chunked or not."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n")

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n1\r\n!\r\n0\r\n\r\n"
        assert raw_exchange(proxy.port, chunked, replies=1).statuses == [200]
        (line,) = proxy.access_lines(1)
    assert (line["bytes_in"], line["bytes_out"]) == (5, 8)
