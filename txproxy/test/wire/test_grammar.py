"""Tokens, values, authorities and lists."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.grammar import is_field_value, is_token, split_authority, split_list

_TCHAR = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class TokenTests(SynchronousTestCase):
    """What may be a method or a name, and what may stand in a value."""

    def test_everyByteIsATokenOrNot(self) -> None:
        """Exactly the bytes of tchar make a token (RFC 9110 section 5.6.2)."""
        for code in range(256):
            byte = bytes((code,))
            self.assertEqual(is_token(byte), byte in _TCHAR, byte)
            self.assertEqual(is_token(b"a" + byte + b"b"), byte in _TCHAR, byte)
        self.assertFalse(is_token(b""))

    def test_everyByteMayStandInAValueOrNot(self) -> None:
        """Visible bytes, obs-text, SP and HTAB may (RFC 9110 section 5.5); no other control, and not DEL."""
        for code in range(256):
            allowed = code == 9 or 32 <= code <= 126 or code >= 128
            self.assertEqual(is_field_value(b"a" + bytes((code,)) + b"b"), allowed, code)
        self.assertTrue(is_field_value(b""))


class AuthorityTests(SynchronousTestCase):
    """A host with or without a port (RFC 3986 section 3.2)."""

    def test_hostAndPortAreSplit(self) -> None:
        """The host comes in lower case and without its root dot; the port as a number."""
        for value, expected in (
            (b"a.example", (b"a.example", None)),
            (b"A.Example:8080", (b"a.example", 8080)),
            (b"a.example.", (b"a.example", None)),
            (b"a.example.:80", (b"a.example", 80)),
            (b"a:", (b"a", None)),
            (b"a:0", (b"a", 0)),
            (b"a:65535", (b"a", 65535)),
            (b"a:00080", (b"a", 80)),
            (b"192.0.2.1:1", (b"192.0.2.1", 1)),
            (b"[::1]", (b"[::1]", None)),
            (b"[::1]:", (b"[::1]", None)),
            (b"[2001:DB8::1]:443", (b"[2001:db8::1]", 443)),
            (b"[::ffff:192.0.2.1]", (b"[::ffff:192.0.2.1]", None)),
            (b"[v1.x:y]", (b"[v1.x:y]", None)),
            (b"under_score", (b"under_score", None)),
            (b"xn--caf-dma.example", (b"xn--caf-dma.example", None)),
            (b"a%20b", (b"a%20b", None)),
        ):
            self.assertEqual(split_authority(value), expected, value)

    def test_anythingElseIsRefused(self) -> None:
        """Userinfo, lists, paths, words for ports and broken brackets are not an authority."""
        for value in (
            b"", b":80", b"a:65536", b"a:123456", b"a:+1", b"a:-1", b"a:b", b"a:80:80", b"u@a", b"u:p@a", b"a,b",
            b"a, b",
            b"a b", b" a", b"a ", b"a\t", b"a/b", b"a?b", b"a#b", b"a\\b", b"a%", b"a%2", b"a%zz", b"[::1", b"::1]",
            b"[::1]x",
            b"[]", b"[g::1]", b"a\x00", b"a\x7f", b"a\x85", b"a\xa0", b"a\r", b"a\n", b'a"b', b"a<b", b"a|b",
            b"a^b", b"a{b}", b"\xc3\xa4.example", b"[a]b]", b"[::1%25eth0]",
        ):  # fmt: skip
            self.assertIsNone(split_authority(value), value)

    def test_theSameAnswerTwice(self) -> None:
        """A remembered answer is the same as a fresh one."""
        for value in (b"Once.Example:1", b"not valid"):
            self.assertEqual(split_authority(value), split_authority(value))


class ListTests(SynchronousTestCase):
    """Comma-separated lists (RFC 9110 section 5.6.1)."""

    def test_membersInLowerCaseWithoutEmptyOnes(self) -> None:
        """Empty members are ignored; only SP and HTAB are whitespace around them."""
        for value, expected in (
            (b"", []),
            (b",, ,\t,", []),
            (b"Close", [b"close"]),
            (b" a ,\tB\t, c", [b"a", b"b", b"c"]),
            (b"a b", [b"a b"]),
            (b"\xa0a", [b"\xa0a"]),
            (b"\x0ba\x0c", [b"\x0ba\x0c"]),
        ):
            self.assertEqual(split_list(value), expected, value)
