"""What must hold for any bytes at the beginning of a TLS connection."""

from __future__ import annotations

from fuzz.checks import pieces_of, require
from txproxy.test.wire.hellos import extension, hello, message, records
from txproxy.wire.client_hello import MOST_BYTES, ClientHello, ClientHelloReader

_PROBLEMS = ("", "not TLS", "too long", "malformed")


def client_hellos(data: bytes) -> None:
    """A ClientHello is read in one way however it comes, nothing of it is lost, and little is kept."""
    whole = _read([data])
    require(whole == _read(pieces_of(data)), "pieces say what the whole says")
    require(whole == _read([data[at : at + 1] for at in range(len(data))]), "bytes say what the whole says")
    if whole is not None:
        require(whole.problem in _PROBLEMS, "a problem is one of those that are known")
        require(not whole.problem or whole == ClientHello(problem=whole.problem), "what is ambiguous says nothing")
        require(whole.server_name.isprintable() and " " not in whole.server_name, "a name can stand in a log")
    else:
        require(len(data) < MOST_BYTES, "nobody waits for more than may come")


def _read(pieces: list[bytes]) -> ClientHello | None:
    reader = ClientHelloReader()
    found = None
    fed = b""
    for piece in pieces:
        found = reader.feed(piece)
        fed += piece
        if found is not None:
            break
    require(reader.received == fed, "all that has come is passed on")
    return found


def seeds() -> dict[str, list[bytes]]:
    """Return inputs to begin with, by the name of their check."""
    whole = hello(b"a.example", [b"h2", b"http/1.1"], extension(0x0A0A, b"") + extension(0xFE0D, b"e" * 40))
    cut = [hello(b"a.example", [b"h2"], most=most) for most in (1, 9, 60)]
    return {"client_hellos": [whole, *cut, whole[:-3], records(message(b"")), b"GET / HTTP/1.1\r\n\r\n"]}
