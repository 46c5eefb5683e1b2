"""Tests for :mod:`txproxy.wire.client_hello`: what a client asks for, however it says it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.hellos import alpn, body, extension, hello, message, records, server_name, vector
from txproxy.wire.client_hello import MOST_BYTES, ClientHello, ClientHelloReader

NOT_TLS = ClientHello(problem="not TLS")
TOO_LONG = ClientHello(problem="too long")
MALFORMED = ClientHello(problem="malformed")

GREASE = extension(0x2A2A, b"") + extension(0xFE0D, b"\0" * 200)  # RFC 8701, and Encrypted Client Hello.
WITH_NAME = message(body(server_name(b"a.example")))


def read(*pieces: bytes) -> ClientHello | None:
    """Return what a reader says at the last of some pieces, having said nothing before."""
    reader = ClientHelloReader()
    for piece in pieces[:-1]:
        assert reader.feed(piece) is None, piece
    return reader.feed(pieces[-1])


def in_bytes(data: bytes) -> ClientHello | None:
    """Return what a reader says of bytes that come one by one."""
    reader = ClientHelloReader()
    for number in range(len(data)):
        found = reader.feed(data[number : number + 1])
        if found is not None:
            return found
    return None


# What has come, and what it says.
TABLE: tuple[tuple[str, bytes, ClientHello | None], ...] = (
    ("nothing", b"", None),
    ("a name", hello(b"a.example"), ClientHello("a.example")),
    ("in any case, with a dot", hello(b"A.eXample."), ClientHello("a.example")),
    ("protocols", hello(protocols=[b"h2", b"http/1.1"]), ClientHello("", ("h2", "http/1.1"))),
    ("both", hello(b"a.example", [b"acme-tls/1"]), ClientHello("a.example", ("acme-tls/1",))),
    ("protocols of any bytes", hello(protocols=[b"\x0a\x0a"]), ClientHello("", ("\x0a\x0a",))),
    ("neither", hello(), ClientHello()),
    ("no extensions at all", records(message(body(None))), ClientHello()),
    ("no session", records(message(body(server_name(b"a"), b""))), ClientHello("a")),
    ("unknown extensions", hello(b"a.example", [b"h2"], GREASE), ClientHello("a.example", ("h2",))),
    ("a name of another type", records(message(body(server_name(b"x", kind=7)))), ClientHello()),
    ("any minor version", records(WITH_NAME, version=b"\x03\x04"), ClientHello("a.example")),
    ("many records", hello(b"a.example", most=7), ClientHello("a.example")),
    ("records of a byte", hello(b"a.example", most=1), ClientHello("a.example")),
    ("something behind it", hello(b"a.example") + b"\x17\x03\x03early data", ClientHello("a.example")),
    ("something behind it in its record", records(WITH_NAME + b"\x01more"), ClientHello("a.example")),
    ("a long one", hello(b"a.example", more=extension(51, b"k" * 12000)), ClientHello("a.example")),
    ("a part of one", hello(b"a.example")[:-1], None),
    ("the beginning of a record", b"\x16\x03", None),
    ("HTTP", b"GET / HTTP/1.1\r\n", NOT_TLS),
    ("SSH", b"S", NOT_TLS),
    ("SSL 2", b"\x80\x2e\x01\x03\x01", NOT_TLS),
    ("another record first", b"\x15\x03\x01\0\x02\x01\0", NOT_TLS),
    ("another major version", b"\x16\x04", NOT_TLS),
    ("an empty record", b"\x16\x03\x01\0\0", NOT_TLS),
    ("a record that is too long", b"\x16\x03\x01\x40\x01", NOT_TLS),
    ("another message", records(message(b"x", 2)), NOT_TLS),
    ("another record in between", records(WITH_NAME[:20]) + b"\x17\x03\x03\0\x01x", NOT_TLS),
    ("a message that says it is too long", records(b"\x01\xff\xff\xff"), TOO_LONG),
    ("more than is kept", hello(b"a.example", more=extension(51, b"k" * MOST_BYTES))[:MOST_BYTES], TOO_LONG),
    ("two names", records(message(body(server_name(b"a", b"b")))), MALFORMED),
    ("the name twice", records(message(body(server_name(b"a") + server_name(b"a")))), MALFORMED),
    ("protocols twice", records(message(body(alpn(b"a") + alpn(b"a")))), MALFORMED),
    ("an empty name", records(message(body(server_name(b"")))), MALFORMED),
    ("a name that is none", hello(b"a b.example"), MALFORMED),
    ("a name that would forge a line", hello(b"a\nb"), MALFORMED),
    ("no names", records(message(body(server_name()))), MALFORMED),
    ("no protocols", records(message(body(alpn()))), MALFORMED),
    ("an empty protocol", records(message(body(alpn(b"")))), MALFORMED),
    ("an extension that is cut", records(message(body(b"\0\0\0\x09ab"))), MALFORMED),
    ("bytes behind the names", records(message(body(extension(0, vector(2, b"\0\0\x01a") + b"x")))), MALFORMED),
    ("bytes behind the extensions", records(message(body() + b"x")), MALFORMED),
    ("a body that is cut", records(message(b"\x03\x03")), MALFORMED),
)


class ClientHelloTests(SynchronousTestCase):
    """What a client says in the clear."""

    def test_table(self) -> None:
        """Each case says what it says whole, and byte by byte."""
        for name, data, expected in TABLE:
            self.assertEqual(read(data), expected, name)
            self.assertEqual(in_bytes(data), expected, f"{name}, in bytes")

    def test_inTwoPieces(self) -> None:
        """Wherever a ClientHello is cut, it is complete with its last byte and not before."""
        data = hello(b"a.example", [b"h2"], most=40)
        for cut in range(1, len(data)):
            self.assertEqual(read(data[:cut], data[cut:]), ClientHello("a.example", ("h2",)), cut)

    def test_allThatCameIsKept(self) -> None:
        """What is passed on is what has come, with what came behind the ClientHello."""
        reader = ClientHelloReader()
        data = hello(b"a.example") + b"early data"
        reader.feed(data[:9])
        reader.feed(data[9:])
        self.assertEqual(reader.received, data)

    def test_noMoreIsKeptThanMayBe(self) -> None:
        """A client that never comes to an end is told from one that does, before it has sent much."""
        reader = ClientHelloReader()
        found, piece = None, records(b"\x01\0\x3f\xf0") + records(b"x" * 8000, 1)
        for start in range(0, len(piece), 10):
            found = found or reader.feed(piece[start : start + 10])
            if found:
                break
        self.assertEqual(found, TOO_LONG)
        self.assertLessEqual(len(reader.received), MOST_BYTES + 10)

    def test_openssl(self) -> None:
        """What OpenSSL says as a client is understood."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
        connection.set_tlsext_host_name(b"db.example.com")
        connection.set_alpn_protos([b"postgresql", b"h2"])
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        expected = ClientHello("db.example.com", ("postgresql", "h2"))
        self.assertEqual(read(connection.bio_read(16384)), expected)

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 400))
    def test_noiseNeverRaises(self, noise: bytes, at: int) -> None:
        """Whatever stands in place of a part of a ClientHello, there is an answer, and the same one byte by byte."""
        data = hello(b"a.example", [b"h2"], GREASE)
        for changed in (noise, data[:at] + noise + data[at + len(noise) :]):
            self.assertEqual(read(changed), in_bytes(changed))

    @settings(deadline=None)
    @given(
        st.from_regex(rb"[a-z0-9_-]([a-z0-9_.-]{0,200}[a-z0-9_-])?", fullmatch=True),
        st.lists(st.binary(min_size=1, max_size=255), max_size=5),
        st.integers(1, 300),
    )
    def test_anyNameAndProtocols(self, name: bytes, protocols: list[bytes], most: int) -> None:
        """They are read as they were written, in records of any length."""
        expected = ClientHello(name.decode(), tuple(each.decode("latin-1") for each in protocols))
        self.assertEqual(read(hello(name, protocols, most=most)), expected)
