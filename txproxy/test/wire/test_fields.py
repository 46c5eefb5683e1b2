"""Field sections: what they hold, which names mean something, and what is refused."""

from __future__ import annotations

import contextlib
import itertools
from time import process_time

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadBody, BadReply, BadRequest, ProxyError
from txproxy.test.wire.making import QUICK, noise, padding, plain_names, values
from txproxy.wire.fields import (
    CLAIM_NAMES,
    UNDERSCORE,
    Field,
    FieldTokenizer,
    FieldView,
    fields_of,
    is_disguised,
    kind_of,
    parse_trailers,
    value_of,
    write_fields,
)

_BAD_SECTIONS = (
    b"no colon\r\n", b": x\r\n", b":\r\n", b"A : b\r\n", b"A\t: b\r\n", b" A: b\r\n", b"\tA: b\r\n", b"A: b\r\n c\r\n",
    b"A: b\r\n\tc\r\n", b"A: b\r\n \r\n", b"A:\r\n b\r\n", b"A: b\nC: d\r\n", b"A: b\rC: d\r\n", b"A: b\r\r\n",
    b"A: \x00\r\n",
    b"A: a\x00b\r\n", b"A: a\x07b\r\n", b"A: a\x0bb\r\n", b"A: a\x7fb\r\n", b"A\x00: b\r\n", b"A\x80: b\r\n",
    b"A(: b\r\n",
    b"A B: c\r\n", b"A,B: c\r\n", b"A@B: c\r\n", b"A\r\n", b"\r\n: c\r\n", b"A: b\r\n\r\nHTTP/1.1 204 X\r\nB: c\r\n",
    b"A: b\r\n\r\nB: c\r\n", b"\n", b"\r",
    b"A: b\n",
)  # fmt: skip

_LINES = (
    b"Host: a", b"host: a", b"HOST:a", b"Host: b", b"Content-Length: 5", b"Content-Length:5", b"Connection: close",
    b"Connection: keep-alive", b"connection: a", b"Via: 1.1 x", b"Via:1.1 y", b"Accept: */*", b"Accept:*/*",
    b"Accept: */* ", b"A_b: c", b"A_b:c", b"X-Forwarded-For: 1", b"Empty:", b"Empty: ", b"Cookie: a=b; c=d",
)  # fmt: skip
"""Lines in several spellings, some of which may not stand there twice."""
_PIECES = (
    b"A",
    b"b-C",
    b":",
    b": ",
    b" ",
    b"\t",
    b"x",
    b"\xff",
    b"\x7f",
    b"\x00",
    b"\n",
    b"\r",
    b"(",
    b'"',
    b"~",
    b"\x0b",
)


class Seen:
    """What llhttp has seen."""

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self.fields.append((name, value))


class FieldTokenizerTests(SynchronousTestCase):
    """A section is split as RFC 9112 section 5 has it, or refused."""

    def setUp(self) -> None:
        self.tokenizer = FieldTokenizer()

    def split(self, section: bytes) -> tuple[list[Field], dict[bytes, bytes]]:
        lines, known = self.tokenizer.tokenize(section + b"\r\n", BadRequest)
        return fields_of(lines), known

    def test_namesAndValuesAreKept(self) -> None:
        """Case, order, repetition and bytes are kept; whitespace around a value is not part of it (HF12)."""
        for section, expected in (
            (b"", []),
            (b"A: b\r\n", [(b"A", b"b")]),
            (b"A:b\r\n", [(b"A", b"b")]),
            (b"a: \t b \t \r\n", [(b"a", b"b")]),
            (b"A:\r\n", [(b"A", b"")]),
            (b"A: \t\r\n", [(b"A", b"")]),
            (b"A: b\tc d\r\n", [(b"A", b"b\tc d")]),
            (b"A: :b:\r\n", [(b"A", b":b:")]),
            (b"A: \x85caf\xe9\xa0\r\n", [(b"A", b"\x85caf\xe9\xa0")]),
            (
                b"Set-Cookie: a\r\nX: y\r\nset-cookie: b\r\n",
                [(b"Set-Cookie", b"a"), (b"X", b"y"), (b"set-cookie", b"b")],
            ),
            (b"!#$%&'*+-.^_`|~09: x\r\n", [(b"!#$%&'*+-.^_`|~09", b"x")]),
        ):
            self.assertEqual(self.split(section)[0], expected, section)

    def test_fieldsThatMeanSomethingAreKnown(self) -> None:
        """Names have no case; repeated values are joined in order (RFC 9110 section 5.2)."""
        _, known = self.split(b"HOST: a\r\nX: y\r\ncOnNeCtIoN: a \r\nConnection:\tb\r\nVia: 1.1 x\r\n")
        self.assertEqual(known, {b"host": b"a", b"connection": b"a, b", b"via": b"1.1 x"})
        self.assertIn(UNDERSCORE, self.split(b"Content_Length: 5\r\n")[1])

    def test_hostAndLengthMayNotBeRepeated(self) -> None:
        """Two of them are two meanings of one message, even if they are equal."""
        for name in (b"Host", b"Content-Length"):
            for other in (name, name.lower(), name.upper()):
                self.assertRaises(BadRequest, self.split, b"%b: 5\r\nX: y\r\n%b: 5\r\n" % (name, other))

    def test_invalidLinesAreRefusedAsTheCallerSays(self) -> None:
        """Whatever is not a field line is refused; the next section is none the worse for it."""
        for section in _BAD_SECTIONS:
            for error in (BadRequest, BadReply):
                for raw in (section, b"First: 1\r\n" + section, section + b"Last: 1\r\n"):
                    self.assertRaises(error, self.tokenizer.tokenize, raw + b"\r\n", error)
                self.assertEqual(self.split(b"A: b\r\n"), ([(b"A", b"b")], {}), section)

    def test_noSectionLeavesATraceInTheNext(self) -> None:
        """One tokenizer serves all connections: whatever came before, a section means what it means by itself."""
        lines = (
            b"Content-Length: 5\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
            b"Proxy-Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: x\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
        )  # fmt: skip
        sections = [b"".join(chosen) for count in range(4) for chosen in itertools.combinations(lines, count)]

        def answer(tokenizer: FieldTokenizer, section: bytes) -> object:
            try:
                return tokenizer.tokenize(section + b"\r\n", BadRequest)
            except BadRequest as error:
                return str(error)

        alone = {section: answer(FieldTokenizer(), section) for section in sections}
        for first in sections:
            for _ in range(25):
                self.assertEqual(answer(self.tokenizer, first), alone[first], first)
            for second in sections:
                self.assertEqual(answer(self.tokenizer, second), alone[second], (first, second))
                answer(self.tokenizer, first)

    @QUICK
    @given(st.lists(st.tuples(plain_names, padding, values, padding), max_size=8))
    def test_whatIsWrittenIsReadBack(self, lines: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
        """Any list of names and values comes back from its lines."""
        section = b"".join(name + b":" + before + value + after + b"\r\n" for name, before, value, after in lines)
        expected = [(name, value) for name, _, value, _ in lines]
        self.assertEqual(self.split(section), (expected, {}))
        if expected:
            self.assertEqual(self.split(write_fields(expected) + b"\r\n")[0], expected)

    @QUICK
    @given(st.lists(st.lists(st.sampled_from(_LINES), max_size=6), max_size=12))
    def test_rememberedLinesMeanWhatTheyMeantBefore(self, sections: list[list[bytes]]) -> None:
        """However often lines have come, and beside whatever others, a section is split as if it were the first."""

        def answer(tokenizer: FieldTokenizer, lines: list[bytes]) -> object:
            try:
                return tokenizer.tokenize(b"".join(line + b"\r\n" for line in lines) + b"\r\n", BadRequest)
            except BadRequest as error:
                return str(error)

        for lines in sections * 3:
            self.assertEqual(answer(self.tokenizer, lines), answer(FieldTokenizer(), lines), lines)

    def test_hostileLinesCostNoMoreThanTheirLength(self) -> None:
        """However a line is made up, 16 times its length takes not nearly 256 times as long."""

        def cost_s(line: bytes) -> float:
            times = []
            for _ in range(5):
                begun = process_time()
                for _ in range(20):
                    with contextlib.suppress(BadRequest):
                        self.tokenizer.tokenize(line + b"\r\n\r\n", BadRequest)
                times.append(process_time() - begun)
            return min(times)

        for begin, many, end in (
            (b"A:", b" ", b"\x00"), (b"A:", b"\t ", b"\x7f"), (b"A:", b" ", b"\r"), (b"A: b", b" ", b"\x00"),
            (b"", b"a", b"\x00"), (b"", b"a", b" :"), (b"A:", b"b ", b"\x00"), (b"A:", b" ", b""), (b"A:", b":", b"\n"),
        ):  # fmt: skip
            short, long = (cost_s(begin + many * count + end) for count in (2000, 32_000))
            self.assertLess(long, 100 * max(short, 1e-5), (begin, many, end))

    def test_linesFillNoMemory(self) -> None:
        """What is remembered is bounded in number and in length, whatever a client invents."""
        tokenizer = FieldTokenizer()
        lines = [form % number for number in range(3000) for form in (b"X: %d", b"Host: %d", b"Y:%d")]
        for line in (*lines, b"X: " + b"a" * 600, b"Host: " + b"a" * 600):
            for _ in range(3):
                tokenizer.tokenize(line + b"\r\n\r\n", BadRequest)
        for memory in (tokenizer._plain, tokenizer._others):
            self.assertTrue(0 < len(memory) <= 2048, len(memory))
            self.assertFalse([key for key in memory if len(key) > 512])

    @QUICK
    @given(st.lists(st.sampled_from(_LINES) | st.lists(st.sampled_from(_PIECES), max_size=5).map(b"".join), max_size=5))
    def test_whatIsAcceptedOthersReadTheSame(self, lines: list[bytes]) -> None:
        """Whatever is accepted llhttp accepts too, and sees the same fields: no line has two readings."""
        section = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        try:
            found = fields_of(self.tokenizer.tokenize(section, BadRequest)[0])
        except BadRequest:
            return
        seen = Seen()
        # One at a time: what it makes of several of them together is not what is asked.
        for line in lines:
            httptools.HttpResponseParser(seen).feed_data(b"HTTP/1.1 204 N\r\n" + line + b"\r\n\r\n")
        self.assertEqual(found, [(name, value.rstrip(b" \t")) for name, value in seen.fields])

    @QUICK
    @given(noise)
    def test_noiseIsSplitOrRefused(self, raw: bytes) -> None:
        """Nothing but the caller's error comes out, and fields that do are what stood on the lines."""
        raw = raw.partition(b"\r\n\r\n")[0].lstrip(b"\r\n").rstrip(b"\r\n")
        try:
            fields, _ = self.split(raw + b"\r\n" if raw else b"")
        except ProxyError as error:
            self.assertIs(type(error), BadRequest)
        else:
            lines = raw.split(b"\r\n") if raw else []
            pairs = [line.partition(b":")[::2] for line in lines]
            self.assertEqual(fields, [(name, value.strip(b" \t")) for name, value in pairs])


class TrailerTests(SynchronousTestCase):
    """Trailer sections have the same lines (RFC 9112 section 7.1.2)."""

    def test_linesAreSplit(self) -> None:
        """Whatever they mean elsewhere, names that may not stand there are only names here."""
        section = b"A: b \r\nContent-Length: x\r\nC:\r\nHost: a\r\nHost: b\r\n"
        expected = [(b"A", b"b"), (b"Content-Length", b"x"), (b"C", b""), (b"Host", b"a"), (b"Host", b"b")]
        self.assertEqual(parse_trailers(section, BadBody), expected)

    def test_invalidLinesAreRefused(self) -> None:
        """What a header section may not hold a trailer section may not hold either."""
        for section in _BAD_SECTIONS:
            if section.endswith(b"\r\n"):
                self.assertRaises(BadBody, parse_trailers, section, BadBody)
                self.assertRaises(BadReply, parse_trailers, b"A: b\r\n" + section, BadReply)


class KindTests(SynchronousTestCase):
    """Which fields the proxy acts on."""

    def test_spellingsOfAKnownNameAreOneKind(self) -> None:
        """A known name is known in any case, a name with an underscore is of its own kind, others are plain."""
        for name, kind in (
            (b"Host", b"host"),
            (b"hOsT", b"host"),
            (b"TRANSFER-ENCODING", b"transfer-encoding"),
            (b"Transfer_Encoding", UNDERSCORE),
            (b"_", UNDERSCORE),
            (b"X-Plain", b""),
            (b"Hos", b""),
            (b"x-CLIENT-cert-verify", b"x-client-cert-verify"),
            (b"Strict-transport-security", b"strict-transport-security"),
            (b"X-HTTP-Method-Override", b"x-http-method-override"),
        ):
            self.assertEqual(kind_of(name), kind, name)
            self.assertEqual(kind_of(name), kind, name)

    def test_namesInDisguise(self) -> None:
        """A name that some gateway makes the same variable of as of a claim is no plain one, and not the claim."""
        for name in CLAIM_NAMES - {b"forwarded"}:
            self.assertFalse(is_disguised(name), name)
            self.assertFalse(is_disguised(name.upper()), name)
            for other in b"_.!#$%&'*+^`|~":
                for disguised in (name.replace(b"-", bytes((other,))), name.replace(b"-", bytes((other,)), 1).upper()):
                    self.assertTrue(is_disguised(disguised), disguised)
                    self.assertEqual(kind_of(disguised), UNDERSCORE, disguised)
        for name in (b"Forwarded", b"forwarded-", b"X-Client-Cert", b"X-Client-Cert-Verify-", b"XClientCertVerify"):
            self.assertFalse(is_disguised(name), name)

    def test_inventedNamesDoNotPushOutKnownOnes(self) -> None:
        """However many names a client invents, those that matter are still told from them."""
        for number in range(5000):
            self.assertEqual(kind_of(b"X-Invented-%d" % number), b"")
        self.assertEqual(kind_of(b"cOnTeNt-LeNgTh"), b"content-length")
        self.assertEqual(kind_of(b"x_%d" % 5001), UNDERSCORE)


class ViewTests(SynchronousTestCase):
    """How fields are looked up."""

    def test_valueOfAField(self) -> None:
        """Names have no case, repeated values are joined, a missing field is None."""
        fields = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3")]
        self.assertEqual(value_of(fields, b"a"), b"1, 3")
        self.assertEqual(value_of(fields, b"b"), b"2")
        self.assertIsNone(value_of(fields, b"c"))

    def test_viewForUsersFunctions(self) -> None:
        """A mapping of text in which names have no case and no byte is lost."""
        view = FieldView([(b"X-A", b"caf\xe9"), (b"x-a", b"2"), (b"B", b"")])
        self.assertEqual(view["x-A"], "caf\xe9, 2")
        self.assertEqual(view["b"], "")
        self.assertEqual((len(view), list(view)), (2, ["x-a", "b"]))
        self.assertIsNone(view.get("c"))
        self.assertRaises(KeyError, view.__getitem__, "c")
