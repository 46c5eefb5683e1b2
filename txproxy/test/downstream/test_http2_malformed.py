"""Requests of HTTP/2 that HTTP/1.1 would not let pass either: their stream ends, and no backend sees anything of them."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import Field, Http2Case, frame, head_of, length
from txproxy.test.talk import OK, head
from txproxy.testing import Dialogue, Http2Client

HEAD = head_of(b"POST")
METHOD, SCHEME, AUTHORITY, PATH = HEAD

VALUES = [
    [*HEAD, (b"x", value)] for value in (b"a\rb", b"a\nb", b"a\0b", b"a\r\nb: c", b"a\r\n\r\nGET /", b"\na", b"a\n")
]
NAMES = [
    [*HEAD, (name, b"b")]
    for name in (
        b"x:y",
        b"x\r\ny",
        b"x y",
        b"x ",
        b" x",
        b"X",
        b"xY",
        b"",
        b"x\0",
        b"x\xe9",
        b"x\t",
        b":",
        b"x\n",
        b"x/y",
    )
]
PATHS = [
    [METHOD, SCHEME, AUTHORITY, (b":path", path)]
    for path in (b"", b"x", b"/ x", b"/x y", b"/\r\nx", b"/\0", b"x/../y", b"/x\n", b" /", b"/x\t", b"/\x7f")
]
METHODS = [
    [(b":method", method), SCHEME, AUTHORITY, PATH] for method in (b"", b"GE T", b"GET\r\n", b"G\0T", b"GET /x", b"G:T")
]
PLACES = [
    *([METHOD, (b":scheme", each), AUTHORITY, PATH] for each in (b"", b"ht tp", b"http:", b"h\0", b"http://x")),
    *(
        [METHOD, SCHEME, (b":authority", each), PATH]
        for each in (b"a b", b"a\r\n", b"u@a.example", b"a/b", b"a\0", b"a:x", b"a.example:99999999", b"a,b")
    ),
]
HOP_FIELDS = [
    [*HEAD, field]
    for field in (
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"connection", b"close"),
        (b"connection", b"x-hop"),
        (b"keep-alive", b"timeout=5"),
        (b"upgrade", b"websocket"),
        (b"proxy-connection", b"keep-alive"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
    )
]
LENGTHS = [
    *(
        [*HEAD, (b"content-length", value)]
        for value in (b"", b"-1", b"+1", b"1 2", b"0x5", b"5, 5", b"5,6", b"5 ", b"1" * 30)
    ),
    [*HEAD, length(5), length(6)],
    [*HEAD, length(5), length(5)],
]
PSEUDO = [
    *([*HEAD, each] for each in HEAD),
    [METHOD, METHOD, *HEAD[1:]],
    [METHOD, PATH, *HEAD[1:]],
    [AUTHORITY, *HEAD],
    *([each for each in HEAD if each != missing] for missing in (METHOD, SCHEME, PATH)),
    [*HEAD, (b":protocol", b"websocket")],
    [*HEAD[:3], (b":unknown", b"x"), PATH],
    [(b":status", b"200"), *HEAD],
    [(b"x", b"y"), *HEAD],
    [*HEAD[:3], (b"x", b"y"), PATH],
    [(b"x", b"y")],
]
HOSTS = [
    [*HEAD, (b"host", b"b.example")],
    [*HEAD, (b"host", b"a.example"), (b"host", b"b.example")],
    [METHOD, SCHEME, PATH, (b"host", b"a.example"), (b"host", b"b.example")],
    [*HEAD, (b"host", b"a.example:81")],
    [METHOD, SCHEME, PATH, (b"host", b"a b")],
]


class HeadCase(Http2Case):
    """Heads, with a body behind them and without."""

    def assertRefused(self, heads: list[list[Field]]) -> None:
        """Check that each is refused, and that the connection goes on."""
        dialogue = self.proxy(listener="h2_reset_budget = 1000")
        client = self.h2(dialogue)
        count = 0
        for fields in heads:
            for has_body in (False, True):
                with client.in_one_packet():
                    stream = client.sends_head(fields, ended=not has_body)
                    if has_body:
                        stream.says(b"hello", ended=True)
                count += 1
                self.assertIsNone(client.goaways[0] if client.goaways else None, fields)
                self.assertEqual(dialogue.attempts, [], fields)
                self.assertEqual(len(dialogue.lines), count, fields)
                if stream.heads:
                    self.assertReply(stream, 400)
                else:
                    self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
                self.assertEnd(dialogue, "bad-request", 400)
        self.assertGoesOn(dialogue, client)

    def assertGoesOn(self, dialogue: Dialogue, client: Http2Client) -> None:
        """Check that a further stream is served, and that nothing came to the backend before it."""
        stream = client.asks(b"GET", b"/good")
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().line, b"GET /good HTTP/1.1")
        self.assertEqual(backend.gets(), b"")
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")


class HeadTests(HeadCase):
    """What is malformed in a head (RFC 9113 section 8.2 and 8.3)."""

    def test_values(self) -> None:
        """CR, LF and NUL in values."""
        self.assertRefused(VALUES)

    def test_names(self) -> None:
        """Names that are no tokens in lower case."""
        self.assertRefused(NAMES)

    def test_paths(self) -> None:
        """Targets that are not of the form of an absolute path."""
        self.assertRefused(PATHS)

    def test_methods(self) -> None:
        """Methods that are no tokens."""
        self.assertRefused(METHODS)

    def test_places(self) -> None:
        """Schemes and authorities that are none."""
        self.assertRefused(PLACES)

    def test_hopFields(self) -> None:
        """Fields that belong to a connection of HTTP/1.1 (RFC 9113 section 8.2.2)."""
        self.assertRefused(HOP_FIELDS)

    def test_lengths(self) -> None:
        """Lengths that are none, or more than one."""
        self.assertRefused(LENGTHS)

    def test_pseudoFields(self) -> None:
        """Pseudo-fields that are missing, unknown, late, or there twice (RFC 9113 section 8.3)."""
        self.assertRefused(PSEUDO)

    def test_nothing(self) -> None:
        """A head without any field."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.peer.gets()
        client.says(frame(1, 5, 1))
        self.assertEqual(client.peer.gets(), frame(3, 0, 1, b"\0\0\0\1"))
        self.assertEqual((self.ends(dialogue), client.goaways), ([(400, "bad-request")], []))

    def test_hosts(self) -> None:
        """A Host that says otherwise than :authority does, or two."""
        self.assertRefused(HOSTS)


class BodyLengthTests(HeadCase):
    """Content-Length is not what comes (RFC 9113 section 8.1.1); no backend sees a request that looks complete."""

    CASES: tuple[tuple[int, tuple[bytes, ...], bool], ...] = (
        (5, (b"hell",), True),
        (5, (b"he", b"ll"), True),
        (5, (b"",), True),
        (5, (b"hello!",), True),
        (5, (b"hello!",), False),
        (5, (b"hello", b"!"), True),
        (5, (b"hello", b"!"), False),
        (5, (b"hello", b"", b"!"), True),
        (5, (b"h", b"ello", b"GET / HTTP/1.1\r\n\r\n"), True),
        (0, (b"x",), True),
        (0, (b"", b"x"), False),
        (1, (b"GET / HTTP/1.1\r\n\r\n",), True),
    )

    def test_contents(self) -> None:
        """Less or more, in one packet or in several, before there is a backend and while there is one."""
        for declared, parts, ends in self.CASES:
            for early in (False, True):
                for at_once in (False, True):
                    self.check(declared, parts, ends, early, at_once)

    def check(self, declared: int, parts: tuple[bytes, ...], ends: bool, early: bool, at_once: bool) -> None:
        """Check one case.

        :param ends: the last part has END_STREAM.
        :param early: there is no connection to a backend yet.
        """
        dialogue = self.proxy()
        client = self.h2(dialogue)
        with client.in_one_packet() as packet:
            stream = client.asks(b"POST", b"/", length(declared), ended=False)
            head = bytes(packet)
            packet.clear()
            for number, part in enumerate(parts):
                stream.says(part, ended=ends and number == len(parts) - 1)
            content = bytes(packet)
            packet.clear()
        case = (declared, parts, ends, early, at_once)
        backend = None
        if at_once:
            client.says(head + content)
        else:
            client.says(head)
            if not early and declared:
                backend = dialogue.backend()
            client.says(content)
        self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(stream.heads, [], case)
        self.assertEnd(dialogue, "bad-body", 400)
        if backend is not None:
            self.assertTrue(backend.sees_reset)
            backend.gets_head()
            self.assertLess(len(backend.gets()), declared, case)
            other = client.asks()
            dialogue.backend().says(OK)
            self.assertReply(other, 200, b"ok")
        elif dialogue.attempts:
            late = dialogue.backend()
            self.assertEqual(late.gets(), b"", case)
        self.assertEqual(len(dialogue.lines), 2 if backend is not None else 1)
        self.assertEqual(client.goaways, [])

    def test_afterTheReplyHasBegun(self) -> None:
        """The client has seen a status: that is the one of the line, and the reply has no clean end."""
        for says, ends in ((b"hello!", False), (b"hell", True)):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", b"/", length(5), ended=False)
            backend.says(head(b"Content-Length: 10") + b"abc")
            stream.says(says, ended=ends)
            self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual((stream.gets(), stream.has_ended), (b"abc", False))
            self.assertTrue(backend.sees_reset)
            self.assertEqual(self.ends(dialogue), [(200, "bad-body")])
            self.assertGoesOn(dialogue, client)

    def test_endOfTheHead(self) -> None:
        """END_STREAM on a head that announces content."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        for method in (b"GET", b"POST", b"HEAD"):
            self.assertReset(client.sends_head(head_of(method, b"/", length(5))), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.ends(dialogue), [(400, "bad-request")] * 3)
        self.assertGoesOn(dialogue, client)


class HarmlessTests(HeadCase):
    """What only looks strange is served as HTTP/1.1 has it."""

    def test_served(self) -> None:
        """Crumbs of cookies, an authority that Host repeats, a Host alone, TE: trailers, an empty value."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        for fields, name, expected in (
            ([*HEAD, (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")], b"Cookie", b"a=1; b=2; c=3"),
            ([*HEAD, (b"host", b"a.example")], b"Host", b"a.example"),
            ([METHOD, SCHEME, PATH, (b"host", b"c.example")], b"Host", b"c.example"),
            ([*HEAD, (b"te", b"trailers")], b"Host", b"a.example"),
            ([*HEAD, (b"x", b"")], b"x", b""),
            ([*HEAD, (b"content-length", b"000")], b"Host", b"a.example"),
            ([PATH, AUTHORITY, SCHEME, METHOD], b"Host", b"a.example"),
        ):
            self.assertReply(client.sends_head(fields), 200)
            got = backend.requests[-1].head
            self.assertEqual(got.get(name), expected)
            self.assertEqual((got.line, len(got.all(b"host"))), (b"POST / HTTP/1.1", 1))
