"""Tests for :mod:`txproxy.config.expand`."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.expand import Expander, ExpandError, escape, expand_text, is_secret


class ExpandTextTests(SynchronousTestCase):
    """Variables in strings."""

    def test_variablesAreReplaced(self) -> None:
        """Each form gives what a shell would give, and what was put in is not looked at again."""
        environ = {"A": "1", "EMPTY": "", "NEST": "${A}"}
        for text, expected in (
            ("", ""),
            ("$A ${A}${A}", "$A 11"),
            ("${A:-x}", "1"),
            ("${NO:-x y}", "x y"),
            ("${NO:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NEST}", "${A}"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("a$", "a$"),
        ):
            self.assertEqual(expand_text(text, environ), expected)

    def test_whatCannotBeReplacedIsAnError(self) -> None:
        """A variable that is not set and a form that is none are refused."""
        for text, part in (("${NO}", "NO is not set"), ("${", "begins no variable"), ("${a b}", "begins no variable")):
            self.assertIn(part, str(self.assertRaises(ExpandError, expand_text, text, {})))

    @given(st.text(alphabet="${}A:-"))
    def test_escapedTextComesBack(self, text: str) -> None:
        """An escaped string expands to itself."""
        self.assertEqual(expand_text(escape(text), {}), text)


class IsSecretTests(SynchronousTestCase):
    """Which keys hold secrets."""

    def test_secretsAreTheTokenAndCredentialsThatAreSent(self) -> None:
        """The admin token and the credentials sent to backends are secret, and nothing else."""
        for path, expected in (
            (("admin", "token"), True),
            (("route", 0, "request_headers", "set", "Authorization"), True),
            (("route", 2, "request_headers", "add", "COOKIE"), True),
            (("cluster", "a", "health", "headers", "X-Api-Key"), True),
            (("route", 0, "request_headers", "set", "X-Other"), False),
            (("route", 0, "headers", "Cookie"), False),
            (("log", "path"), False),
            ((), False),
        ):
            self.assertEqual(is_secret(path), expected, path)


class SecretTests(SynchronousTestCase):
    """Secrets that are not there."""

    def test_emptyTokens(self) -> None:
        """A token that turns out to be empty is refused: without one whoever is on the machine may do everything."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "empty").write_text("\n")
        (folder / "blank").write_text(" \r\n")
        (folder / "good").write_text("abc\n")
        for token, expected in (
            ("file:good", "abc"),
            ("file:empty", None),
            ("file:blank", None),
            ("${EMPTY}", None),
            ("${EMPTY:-}", ""),
            ("", ""),
        ):
            expander = Expander({"EMPTY": ""}, lambda _: folder)
            expanded = expander.expand({"admin": {"token": token}})
            if expected is None:
                (finding,) = expander.findings
                self.assertIn("empty", finding.message)
            else:
                self.assertEqual((expanded, expander.findings), ({"admin": {"token": expected}}, []))
