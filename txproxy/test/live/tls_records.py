"""TLS by hand, for what no library would send: hellos of any content, and records of TLS 1.3 that only look right."""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALERT, HANDSHAKE, DATA = 21, 22, 23
_SERVER_HELLO, _CERTIFICATE = 2, 11
# What TLS 1.2 needs besides: groups (P-256, X25519), signatures (ECDSA and RSA with SHA-256), point formats.
_USUAL = (
    (10, struct.pack("!HHH", 4, 23, 29)),
    (13, struct.pack("!HHHH", 6, 0x0403, 0x0804, 0x0401)),
    (11, b"\x01\x00"),
    (23, b""),
)
_SUITES = struct.pack("!HHH", 0xC02B, 0xC02F, 0x00FF)


def record(kind: int, data: bytes, version: int = 0x0303) -> bytes:
    """Return one record of at most 16 KiB."""
    return struct.pack("!BHH", kind, version, len(data)) + data


def records(kind: int, data: bytes, size: int = 1 << 14) -> bytes:
    """Return as many records of a size as it takes."""
    return b"".join(record(kind, data[start : start + size]) for start in range(0, len(data), size))


def extension(number: int, data: bytes) -> bytes:
    """Return one extension."""
    return struct.pack("!HH", number, len(data)) + data


def name_extension(*names: bytes, kind: int = 0) -> bytes:
    """Return an extension for the server's name (RFC 6066 section 3), well-formed but for the names."""
    entries = b"".join(struct.pack("!BH", kind, len(name)) + name for name in names)
    return extension(0, struct.pack("!H", len(entries)) + entries)


def alpn_extension(*protocols: bytes) -> bytes:
    """Return an extension for protocols (RFC 7301)."""
    entries = b"".join(bytes([len(each)]) + each for each in protocols)
    return extension(16, struct.pack("!H", len(entries)) + entries)


def client_hello(*extensions: bytes, suites: bytes = _SUITES, usual: bool = True) -> bytes:
    """Return the message by which a client of TLS 1.2 begins, without its record.

    :param usual: with the extensions that it takes to agree.
    """
    every = b"".join([*extensions, *(extension(*each) for each in _USUAL if usual)])
    body = b"\x03\x03" + os.urandom(32) + b"\x00" + struct.pack("!H", len(suites)) + suites + b"\x01\x00"
    body += struct.pack("!H", len(every)) + every
    return b"\x01" + len(body).to_bytes(3) + body


class Answer(NamedTuple):
    """What a server said to a hello of TLS 1.2."""

    alert: int
    """Number of the alert; -1 if there was none."""
    certificate: bytes
    """The certificate that it showed, as DER; empty if none."""
    ended: bool
    """It closed the connection."""
    resumed: bool = False
    """It went on with a session: hello, and no certificate."""

    @property
    def names(self) -> list[str]:
        """Names that the certificate is for."""
        found = x509.load_der_x509_certificate(self.certificate)
        return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )


def answer_to(port: int, data: bytes, timeout_s: float = 30.0, half_close: bool = False) -> Answer:
    """Send bytes on a new connection and read until the server has shown a certificate, an alert, or the end.

    :param half_close: shut down the sending side after them.
    :raises AssertionError: if nothing of that comes in time.
    """
    deadline = time.monotonic() + timeout_s
    with socket.create_connection(("127.0.0.1", port), timeout_s) as peer:
        received, ended = b"", False
        try:
            peer.sendall(data)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            ended = True  # What it said before still stands in the buffer.
        while True:
            answer = _read(received, ended)
            if answer is not None:
                return answer
            left = deadline - time.monotonic()
            assert left > 0, f"no answer within {timeout_s} s, but {received[:200]!r}"
            peer.settimeout(left)
            try:
                more = peer.recv(1 << 16)
            except TimeoutError:
                raise AssertionError(f"no answer within {timeout_s} s, but {received[:200]!r}") from None
            except OSError:
                more = b""
            received += more
            ended = not more


def _read(received: bytes, ended: bool) -> Answer | None:
    handshake, position = b"", 0
    while len(received) - position >= 5:
        kind, _, size = struct.unpack_from("!BHH", received, position)
        body = received[position + 5 : position + 5 + size]
        if len(body) < size:
            break
        position += 5 + size
        if kind == ALERT:
            return Answer(body[1] if len(body) == 2 else 0, b"", ended)
        if kind == 20:
            return Answer(-1, b"", ended, resumed=True)
        if kind == HANDSHAKE:
            handshake += body
    position = 0
    while len(handshake) - position >= 4:
        kind, size = handshake[position], int.from_bytes(handshake[position + 1 : position + 4])
        body = handshake[position + 4 : position + 4 + size]
        if len(body) < size:
            break
        if kind == _CERTIFICATE:
            length = int.from_bytes(body[3:6])
            return Answer(-1, body[6 : 6 + length], ended)
        position += 4 + size
    return Answer(-1, b"", True) if ended else None


def _logged(key_log: Path, label: str) -> tuple[bytes, bytes]:
    """Return the random of the client and the secret that a library has logged under a label."""
    lines = (line.split() for line in key_log.read_text().splitlines() if not line.startswith("#"))
    ((_, random, secret),) = [line for line in lines if line[0] == label]
    return bytes.fromhex(random), bytes.fromhex(secret)


class ClientRecords13:
    """Makes records of a client of TLS 1.3 from the secrets that its library has logged, one after the other.

    :param key_log: file that ``SSLContext.keylog_filename`` named. The suite must be TLS_AES_128_GCM_SHA256, and the
        library must send no data itself.
    """

    def __init__(self, key_log: Path) -> None:
        self._use(_logged(key_log, "CLIENT_TRAFFIC_SECRET_0")[1])

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(_expand(secret, b"key", 16))
        self._start = int.from_bytes(_expand(secret, b"iv", 12))
        self._number = 0

    def record(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        """Return a record of a kind with so many zeros after it (RFC 8446 section 5.4)."""
        inner = data + bytes([kind]) + bytes(padding)
        head = struct.pack("!BHH", DATA, 0x0303, len(inner) + 16)
        nonce = (self._start ^ self._number).to_bytes(12)
        self._number += 1
        return head + self._cipher.encrypt(nonce, inner, head)

    def key_update(self, wants_answer: bool) -> bytes:
        """Return a record that announces new keys (RFC 8446 section 4.6.3), which those after it use."""
        made = self.record(HANDSHAKE, b"\x18\x00\x00\x01" + bytes([wants_answer]))
        self._use(_expand(self._secret, b"traffic upd", 32))
        return made


class ClientRecords12:
    """The same for TLS 1.2 with a suite of AES-128-GCM and SHA-256 (RFC 5288).

    :param server_flight: what the server sent in the handshake.
    """

    def __init__(self, key_log: Path, server_flight: bytes) -> None:
        client_random, master = _logged(key_log, "CLIENT_RANDOM")
        # The record's head, that of the message, its version; then the random.
        server_random = server_flight[5 + 4 + 2 :][:32]
        keys = _derived(master, b"key expansion" + server_random + client_random, 40)
        self._cipher, self._salt = AESGCM(keys[:16]), keys[32:36]
        self._number = 1  # The library's own last message of the handshake was number 0.

    def record(self, kind: int, data: bytes) -> bytes:
        """Return a record of a kind."""
        number = struct.pack("!Q", self._number)
        self._number += 1
        sealed = self._cipher.encrypt(self._salt + number, data, number + struct.pack("!BHH", kind, 0x0303, len(data)))
        return record(kind, number + sealed)


def _derived(secret: bytes, seed: bytes, length: int) -> bytes:
    """RFC 5246 section 5, with SHA-256."""
    made, chained = b"", seed
    while len(made) < length:
        chained = hmac.digest(secret, chained, "sha256")
        made += hmac.digest(secret, chained + seed, "sha256")
    return made[:length]


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """RFC 8446 section 7.1, for results that are no longer than one hash."""
    full = b"tls13 " + label
    info = struct.pack("!HB", length, len(full)) + full + b"\x00\x01"
    return hmac.digest(secret, info, "sha256")[:length]
