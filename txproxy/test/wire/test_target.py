"""Request targets: their forms, and the normal form that routes and caches compare."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest
from txproxy.test.wire.making import QUICK
from txproxy.wire.target import check_target, escape_high_bytes, normal_path, plain_path, split_absolute

_CLEAN = (
    (b"/", b"/"),
    (b"/a/b?q=/../x", b"/a/b"),
    (b"/a.b/c..d/...", b"/a.b/c..d/..."),
    (b"/.hidden/..x/x..", b"/.hidden/..x/x.."),
    (b"//a///b", b"/a/b"),
    (b"/%61%7E%2d", b"/a~-"),
    (b"/a%2fb", b"/a%2Fb"),
    (b"/a%5cb", b"/a%5Cb"),
    (b"/a\\b", b"/a\\b"),
    (b"/%c3%a9", b"/%C3%A9"),
    (b"/%252e%252e/x", b"/%252e%252e/x"),
    (b"/a%3Fb?c", b"/a%3Fb"),
    (b"/a;x=..;y/b", b"/a;x=..;y/b"),
    (b"/?", b"/"),
    (b"/~user/[x]|{y}", b"/~user/[x]|{y}"),
)

_DOTTED = (
    (b"/.", b"/"),
    (b"/..", b"/"),
    (b"/./a", b"/a"),
    (b"/a/.", b"/a/"),
    (b"/a/..", b"/"),
    (b"/a/../b", b"/b"),
    (b"/../../b", b"/b"),
    (b"/a/b/../../../c", b"/c"),
    (b"/a/%2e%2E/b", b"/b"),
    (b"/a/.%2e/b", b"/b"),
    (b"/a/..%2fb", b"/b"),
    (b"/a%2F..%2Fb", b"/b"),
    (b"/a/..%5cb", b"/b"),
    (b"/a/..\\b", b"/b"),
    (b"/a\\..\\b", b"/b"),
    (b"/a/..?q", b"/"),
)


class NormalPathTests(SynchronousTestCase):
    """Many spellings of one path, one form to compare (RFC 3986 section 6.2.2)."""

    def test_spellingsOfOnePathAreOne(self) -> None:
        """Escapes of plain bytes are decoded, others in upper case, slashes merged; the query is no part of it."""
        for target, path in _CLEAN:
            self.assertEqual(normal_path(target), (path, False), target)

    def test_dotSegmentsAreSeenInEverySpelling(self) -> None:
        """Whatever some server could take for a dot segment is told, and resolved."""
        for target, path in _DOTTED:
            self.assertEqual(normal_path(target), (path, True), target)

    def test_theShortWayGivesTheSame(self) -> None:
        """A path that needs no closer look is what a closer look would find."""
        for target, path in _CLEAN:
            self.assertIn(plain_path(target), (path, None), target)
        for target, _ in _DOTTED:
            self.assertIsNone(plain_path(target), target)
        self.assertEqual(plain_path(b"/a/b?c=1"), b"/a/b")

    @QUICK
    @given(st.text("aA./%25eEfFcC\\?;~", max_size=16))
    def test_theShortWayAgreesWithTheLongOne(self, text: str) -> None:
        """Whichever way is taken, a target has one normal form, and one answer about dot segments."""
        target = b"/" + text.encode()
        path = plain_path(target)
        if path is not None:
            self.assertFalse(check_target(target))
            self.assertEqual((path, False), normal_path(target))

    @QUICK
    @given(st.lists(st.sampled_from([b"a", b".", b"..", b"%2e", b"%2F", b"%5c", b"\\", b"/", b"//", b"%41", b"%25"])))
    def test_normalTwiceIsNormalOnce(self, pieces: list[bytes]) -> None:
        """The normal form of a path is its own normal form, and has no dot segments left."""
        path, _ = normal_path(b"/" + b"".join(pieces))
        self.assertEqual(normal_path(path), (path, False))
        self.assertNotIn(b"//", path)


class CheckTargetTests(SynchronousTestCase):
    """What no target may hold, and what only some routes let pass."""

    def test_controlsAndSpacesAreRefused(self) -> None:
        """Every control, SP and DEL is refused wherever it stands."""
        for code in (*range(0x21), 0x7F):
            for target in (b"/" + bytes((code,)), b"/a" + bytes((code,)) + b"b?c", b"/a?" + bytes((code,))):
                self.assertRaises(BadRequest, check_target, target)

    def test_oddTargetsAreTold(self) -> None:
        """Fragments, broken escapes and encoded NULs are told, in the query too."""
        for target in (b"/#", b"/a?b#c", b"/%", b"/%4", b"/%4g", b"/%+1", b"/%%41", b"/%00", b"/a?%00", b"/a?%zz"):
            self.assertTrue(check_target(target), target)
        for target in (b"/", b"/%20", b"/%2500", b"/a?b=%41", b"/\xff", b'/[x]|{}^`<>"'):
            self.assertFalse(check_target(target), target)

    def test_highBytesGoOnAsEscapes(self) -> None:
        """What is not ASCII is escaped byte by byte; all else is as it was."""
        self.assertEqual(escape_high_bytes(b"/caf\xc3\xa9?\xff%c3"), b"/caf%C3%A9?%FF%c3")
        self.assertEqual(escape_high_bytes(b"/plain%zz"), b"/plain%zz")


class AbsoluteFormTests(SynchronousTestCase):
    """Targets with a scheme and an authority (RFC 9112 section 3.2.2)."""

    def test_authorityAndOriginFormAreSplit(self) -> None:
        """The origin-form keeps every byte; an empty path is a slash."""
        for target, expected in (
            (b"http://a/b?c", (b"a", b"/b?c")),
            (b"HTTPS://A:8443/", (b"A:8443", b"/")),
            (b"http://a", (b"a", b"/")),
            (b"http://a?b", (b"a", b"/?b")),
            (b"http://a//b", (b"a", b"//b")),
            (b"http://[::1]:80/x", (b"[::1]:80", b"/x")),
            (b"http://a/http://b/", (b"a", b"/http://b/")),
        ):
            self.assertEqual(split_absolute(target), expected, target)

    def test_otherUrisAreRefused(self) -> None:
        """Other schemes, no authority, userinfo and bad ports are refused."""
        for target in (
            b"ftp://a/", b"http:/a", b"http:a", b"http:///a", b"http://:80/", b"http://u@a/", b"http://u:p@a/",
            b"http://a:b/",
            b"http://a#b", b"http://a\\b/", b"//a/b", b"a/b", b"", b"xhttp://a/", b"http://a,b/",
        ):  # fmt: skip
            self.assertRaises(BadRequest, split_absolute, target)
