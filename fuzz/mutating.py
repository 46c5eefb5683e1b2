"""A plain mutator: inputs that were worth a look, changed at random."""

from __future__ import annotations

import random

_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"=", b'"', b"\\", b"/", b"//", b"..", b"%2e",
    b"%2F", b"%5c",
    b"%00", b"%", b"#", b"?", b"*", b"@", b"[::1]", b"http://", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\x85", b"\xa0",
    b"\xff", b"0",
    b"5", b"-1", b"+5", b"0x5", b"FFFFFFFFFFFFFFFF", b"99999999999999999999", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0",
    b"GET ",
    b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked", b"gzip, ", b"identity",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: Host, Via, Content-Length\r\n",
    b"Upgrade: x\r\n",
    b"TE: trailers\r\n", b"Expect: 100-continue\r\n", b"X-Forwarded-For: 1.2.3.4, ::1\r\n", b"Max-Forwards: 1\r\n",
    b"A_B: c\r\n",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"1;a=\"b\"\r\nx\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"\x1e", b"\x1f", b":path", b"transfer-encoding\x1fchunked\x1e", b"content-length\x1f5\x1e", b"host\x1fb\x1e",
    b"\x00\x00\x00\x04\x01\x00\x00\x00\x00", b"\x00\x00\x01", b"\x3f\xe1\x1f", b"\x20", b"\x82", b"\xbe",
)  # fmt: skip


class Mutator:
    """Changes inputs at random.

    :param pool: inputs to begin with; must not be empty.
    :param chance: where the randomness comes from, so that a run can be repeated.
    """

    def __init__(self, pool: list[bytes], chance: random.Random) -> None:
        self._pool = pool
        self._chance = chance

    def next(self) -> bytes:
        """Return the next input."""
        data = bytearray(self._chance.choice(self._pool))
        for _ in range(self._chance.randrange(1, 5)):
            self._change(data)
        return bytes(data)

    def _change(self, data: bytearray) -> None:
        chance = self._chance
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 16)))
        kind = chance.randrange(6)
        if kind == 0:
            data[start:end] = chance.randbytes(chance.randrange(1, 4))
        elif kind == 1:
            data[start:end] = b""
        elif kind == 2:
            data[start:start] = data[start:end] * chance.choice((1, 2, 30))
        elif kind == 3:
            other = chance.choice(self._pool)
            piece = chance.randrange(len(other) + 1)
            data[start:end] = other[piece : piece + chance.randrange(1, 40)]
        else:
            data[start:end] = chance.choice(_WORDS)
