"""Servers for tests of conformance: a backend that does as its path says, txproxy in front of it, and proxies of others."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .backend import (
    Backend,
    BackendConnection,
    BlackHole,
    Handler,
    by_target,
    continuing,
    echo,
    fixed,
    never,
    raw,
)
from .http2_frames import FrameClient
from .judge import JudgedRequest
from .processes import PeerProxy, ProxyProcess
from .tls_client import trusting
from .tls_front import listener
from .tls_identities import Issuer

BIG_BYTES = 300_000
WIDE_FIELDS = 5
"""Of 7,000 bytes each: more than a frame holds."""
_HTTP1_FIELDS = (
    "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Hop: 1\r\n"
    "Upgrade: h2c\r\nX-Kept: 1\r\nX-MiXeD-CaSe: Yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
)


def _early(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    fixed(200, b"conformance\n")(connection, request)


def _refuse_early(connection: BackendConnection, request: JudgedRequest) -> None:
    continuing(connection, request)
    if request.target.startswith(b"/early-403"):
        fixed(403, b"no")(connection, request)


def _chunked(chunks: bytes) -> Handler:
    """Answer with a chunked body, except to HEAD."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    return lambda connection, request: connection.send(head if request.method == b"HEAD" else head + chunks)


_WIDE = "".join(f"X-Wide-{number}: {'w' * 7000}\r\n" for number in range(WIDE_FIELDS))
WIDE_HEAD_BYTES = len(_WIDE)
"""At least, of the reply to a request for /wide, as it comes from the backend."""


def conformance_backend() -> Backend:
    """Start a backend; the first word of a path chooses the reply."""
    return Backend(
        by_target(
            {
                "/echo": echo(),
                "/big": fixed(200, b"b" * BIG_BYTES),
                "/empty": fixed(200, b""),
                "/chunked-empty": _chunked(b"0\r\n\r\n"),
                "/204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
                "/304": raw(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n'),
                "/103": _early,
                "/http1": fixed(200, b"conformance\n", _HTTP1_FIELDS),
                "/wide": fixed(200, b"conformance\n", _WIDE),
                "/trailers": _chunked(b"5\r\nhello\r\n0\r\nX-Sum: 5\r\nContent-Length: 5\r\n\r\n"),
                "/early-403": never(),
                "/never": never(),
            },
            fixed(200, b"conformance\n"),
        ),
        on_head=_refuse_early,
    )


@dataclass
class Http2Front:
    """A proxy that speaks HTTP/2 on ``plain`` by prior knowledge and on ``https`` by ALPN."""

    proxy: ProxyProcess
    backend: Backend
    root: Issuer
    _blamed: int = 0

    def connect(self, name: str = "plain", receive_buffer: int = 0) -> FrameClient:
        """Connect to a listener."""
        tls = trusting(self.root.pem, alpn=("h2", "http/1.1")) if name == "https" else None
        return FrameClient.connect(self.proxy.ports[name], tls, receive_buffer)

    def assert_no_bugs(self) -> None:
        """Fail if the log shows a further error that nobody handled since this was last asked."""
        found = self.proxy.error_text.count("Traceback")
        before, self._blamed = self._blamed, found
        if found > before:
            self.proxy.assert_no_bugs()


def _config(address: str, hole: str, pair: str, keys: str) -> str:
    hasty = "header_timeout_s = 1\nbody_timeout_s = 1\nkeepalive_timeout_s = 1"
    return (
        listener("plain", keys)
        + listener("https", f'tls = "main"\n{keys}')
        + listener("hasty", hasty)
        + f"[tls.main]\ncertificates = [{pair}]\n"
        + '[[route]]\nname = "hole"\npath = "/hole"\ncluster = "hole"\n'
        + '[[route]]\nname = "all"\ncluster = "origin"\n'
        + f'[cluster.hole]\nbackends = [{{ address = "{hole}" }}]\n'
        + f'[cluster.origin]\nbackends = [{{ address = "{address}" }}]\n'
    )


@contextlib.contextmanager
def http2_front(directory: Path, keys: str = "") -> Iterator[Http2Front]:
    """Run txproxy in front of ``conformance_backend``; ``/hole`` goes to one that never accepts.

    :param keys: further keys of both listeners.
    """
    root = Issuer()
    pair = root.leaf("a.example").save(directory, "a")
    with conformance_backend() as backend, BlackHole() as hole:
        with ProxyProcess(_config(backend.address, hole.address, pair, keys)) as proxy:
            yield Http2Front(proxy, backend, root)
        assert backend.violations == []


def haproxy_http2(backend_address: str) -> PeerProxy | None:
    """Start HAProxy with HTTP/2 by prior knowledge; None if it is not installed."""
    program = shutil.which("haproxy")
    if program is None:
        return None
    configuration = f"""
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend web
    bind 127.0.0.1:PORT proto h2
    default_backend origin
backend origin
    server origin {backend_address}
"""
    return PeerProxy([program, "-db", "-f"], configuration)


def nginx_http2(backend_address: str) -> PeerProxy | None:
    """Start nginx with HTTP/2 by prior knowledge; None if it is not installed."""
    program = shutil.which("nginx")
    if program is None:
        return None
    configuration = f"""
        daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            server {{
                listen 127.0.0.1:PORT http2;
                location / {{
                    proxy_pass http://{backend_address}; proxy_http_version 1.1; proxy_request_buffering off;
                    proxy_set_header Host $host; proxy_set_header Connection "";
                }}
            }}
        }}
    """
    return PeerProxy([program, "-c"], configuration)
