"""The client's side of TLS: what is agreed on, single requests, and large bodies.

It proves nothing about the proxy's identity: the certificate signs itself, and the work of a client is not measured.
"""

from __future__ import annotations

import functools
import socket
import ssl

from bench import bulk
from bench.bulk import CHUNK, BulkError, content_length
from bench.certificate import SERVER_NAME
from bench.client import ReplyError, request_bytes
from bench.fleet import StartError

PIECE = 65536

# The first of Mozilla's lists for the certificate that is shown; OpenSSL's own order, which clients offer, begins with
# the one of 256 bits, so that this is agreed on only if the server's order counts.
AGREED = {
    ssl.TLSVersion.TLSv1_3: ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    ssl.TLSVersion.TLSv1_2: ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
}


def client_context(highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Return OpenSSL's default settings of a client, but that any certificate is accepted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = highest
    return context


_shared_context = functools.cache(client_context)


def connect(
    port: int,
    timeout_s: float,
    source: str = "",
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Open a connection to a loopback port and complete the handshake.

    :param source: the address to come from; any if empty.
    :param context: one of :func:`client_context`; the one that all share if it is None.
    :param session: one of *context* to resume, if the proxy agrees.
    :raises OSError: also for a handshake that failed.
    """
    sock = bulk.connect(port, timeout_s, source)
    try:
        # The kernel's own timeout would be taken for a reason to try again.
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return (context or _shared_context()).wrap_socket(
            sock, server_hostname=SERVER_NAME, suppress_ragged_eofs=False, session=session
        )
    except BaseException:
        sock.close()
        raise


def read_head(sock: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """Return one message head, with its empty line, and what came with it of the body.

    :raises BulkError: the peer closed inside the head.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        step = sock.recv(PIECE)
        if not step:
            raise BulkError("closed inside a head")
        received += step
    head, _, body = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def read_reply(sock: ssl.SSLSocket) -> int:
    """Read one whole reply with a Content-Length; return the length of its body.

    :raises ReplyError: it is not a 200, or was cut.
    """
    head, body = read_head(sock)
    if b" 200 " not in head[:16]:
        raise ReplyError(f"unexpected reply {head[:120]!r}")
    length = content_length(head)
    while len(body) < length:
        step = sock.recv(PIECE)
        if not step:
            raise ReplyError("the body was cut")
        body += step
    return length


def see_agreed(port: int, timeout_s: float = 10.0) -> None:
    """Send a request with each version of TLS.

    :raises StartError: another version or cipher is agreed on than is meant for all proxies.
    :raises ReplyError: it is not answered as it should be.
    """
    for highest, expected in AGREED.items():
        with connect(port, timeout_s, context=client_context(highest)) as sock:
            cipher = sock.cipher()
            agreed = (sock.version(), cipher[0] if cipher else "")
            if agreed != expected:
                raise StartError(f"it agrees on {agreed} where {expected} is meant for all proxies")
            sock.sendall(request_bytes())
            read_reply(sock)


def see_http2(port: int, timeout_s: float = 10.0) -> None:
    """Offer HTTP/2 and HTTP/1.1 by ALPN, as browsers do.

    :raises StartError: HTTP/2 is not chosen.
    """
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(port, timeout_s, context=context) as sock:
        agreed = sock.selected_alpn_protocol()
        if agreed != "h2":
            raise StartError(f"it agrees on {agreed or 'no protocol'} by ALPN where h2 is meant for all proxies")


def rested(port: int, timeout_s: float, source: str = "") -> socket.socket:
    """Return the bare socket of a connection that spoke TLS and has had one request.

    Only its other end is of interest from then on; this one should not need memory for TLS.
    """
    with connect(port, timeout_s, source) as sock:
        sock.sendall(request_bytes())
        read_reply(sock)
        return socket.socket(fileno=sock.detach())


def download(port: int, count: int, timeout_s: float = 300.0) -> int:
    """GET *count* bytes through a loopback port; return how many came."""
    with connect(port, timeout_s) as sock:
        sock.sendall(request_bytes(f"/bytes/{count}"))
        head, body = read_head(sock)
        if b" 200 " not in head[:16] or content_length(head) != count:
            raise BulkError(f"unexpected reply {head[:200]!r}")
        buffer, got = bytearray(CHUNK), len(body)
        while got < count and (step := sock.recv_into(buffer)):
            got += step
        return got


def upload(port: int, count: int, timeout_s: float = 300.0) -> int:
    """POST *count* bytes through a loopback port; return how many the backend says it got."""
    with connect(port, timeout_s) as sock:
        sock.sendall(
            b"POST /sink HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: %d\r\n\r\n" % count
        )
        chunk = memoryview(bytes(range(256)) * (CHUNK // 256))
        left = count
        while left:
            left -= sock.send(chunk[: min(left, CHUNK)])
        head, body = read_head(sock)
        while len(body) < content_length(head) and (step := sock.recv(PIECE)):
            body += step
        if b" 200 " not in head[:16] or not body.isdigit():
            raise BulkError(f"unexpected reply {head[:200]!r}")
        return int(body)
