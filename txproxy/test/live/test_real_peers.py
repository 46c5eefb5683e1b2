"""Other people's software on both sides."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from .helpers import MIB, at_once, get
from .peers import Backend, Client, PeerProxy, ProxyProcess, config_for, haproxy, wait_for
from .test_forwarding import seen


def needed(program: str) -> str:
    """Return the path of a program, or skip the test and say why."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def curl(*arguments: str) -> bytes:
    return subprocess.run(  # the command line is the test's own
        [needed("curl"), "-sS", "--max-time", "60", *arguments], capture_output=True, check=True, timeout=90
    ).stdout


def test_curl(proxy: ProxyProcess, backend: Backend, tmp_path: Path) -> None:
    """Uploads with and without Expect, chunked uploads, HEAD, HTTP/1.0 and many URLs on one connection by curl."""
    url = f"http://127.0.0.1:{proxy.port}"
    data = random.Random(9).randbytes(3 * MIB)
    file = tmp_path / "data"
    file.write_bytes(data)
    assert curl("-T", str(file), f"{url}/put") == data
    assert curl("-H", "Expect: 100-continue", "--data-binary", f"@{file}", f"{url}/post") == data
    assert curl("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{file}", f"{url}/chunked") == data
    assert curl("-0", "--data", "old", f"{url}/old") == b"old"
    assert b"200 OK" in curl("-I", f"{url}/head")
    assert curl("--data", "x", *[f"{url}/{number}" for number in range(10)]) == b"x" * 10
    assert backend.violations == []


def test_nginx_as_a_backend(tmp_path: Path) -> None:
    """Files of nginx arrive whole, with ranges, conditions and HEAD; its own errors pass unchanged."""
    program = needed("nginx")
    data = random.Random(4).randbytes(5 * MIB)
    (tmp_path / "file.bin").write_bytes(data)
    tmp_path.chmod(0o755)
    configuration = f"""
        user root; daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            keepalive_requests 50;
            server {{ listen 127.0.0.1:PORT; root {tmp_path}; }}
        }}
    """
    with (
        PeerProxy([program, "-c"], configuration) as nginx,
        ProxyProcess(config_for(f"127.0.0.1:{nginx.port}")) as proxy,
    ):

        def load() -> None:
            with Client(proxy.port) as client:
                whole = client.request("/file.bin")
                assert hashlib.sha256(whole.body).digest() == hashlib.sha256(data).digest()
                part = client.request("/file.bin", fields="Range: bytes=100-299\r\n")
                assert (part.status, part.body) == (206, data[100:300])
                same = client.request("/file.bin", fields=f"If-None-Match: {whole.value('ETag')}\r\n")
                assert same.status == 304
                head = client.request("/file.bin", "HEAD")
                assert (head.value("Content-Length"), head.body) == (str(len(data)), b"")
                assert client.request("/missing").status == 404
                # More requests than one connection to nginx may carry.
                for _ in range(60):
                    assert client.request("/missing").status == 404

        at_once([load] * 4)
        lines = proxy.access_lines(4 * 65)
    assert {line["end"] for line in lines} == {"ok"}


def test_haproxy_in_front(backend: Backend) -> None:
    """Behind HAProxy as a trusted peer: its X-Forwarded-For counts, its connections are used again and again."""
    needed("haproxy")
    config = config_for(backend.address, more='[proxy]\ntrusted_proxies = ["127.0.0.1"]')
    with ProxyProcess(config) as proxy:
        front = haproxy(f"127.0.0.1:{proxy.port}")
        assert front is not None
        with front:
            for number in range(50):
                reply = get(
                    front.port,
                    f"/{number}",
                    method="POST",
                    body=b"via haproxy",
                    fields="X-Forwarded-For: 192.0.2.7\r\n",
                )
                assert reply.body == b"via haproxy"
                assert seen(reply)["values"]["x-forwarded-for"][0].startswith("192.0.2.7")
            lines = proxy.access_lines(50)
        wait_for(lambda: front.process.poll() is not None, "the end of HAProxy")
    assert {line["client"] for line in lines} == {"192.0.2.7"}
    assert backend.violations == []


def test_a_load_generator(proxy: ProxyProcess) -> None:
    """D14: wrk with many connections: every reply is a 200, nothing is cut."""
    program = needed("wrk")
    done = subprocess.run(  # the command line is the test's own
        [program, "-t1", "-c32", "-d2s", f"http://127.0.0.1:{proxy.port}/"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
