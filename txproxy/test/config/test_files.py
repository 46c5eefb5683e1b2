"""Tests for :mod:`txproxy.config.files`."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.files import check_files
from txproxy.test.config.helpers import MINIMAL, errors_of


class CheckFilesTests(SynchronousTestCase):
    """Files that are named but cannot be read."""

    def test_filesThatCannotBeReadAreNamed(self) -> None:
        """A mistyped path is an error of the configuration, with its line and the system's reason."""
        text = MINIMAL + 'health = { type = "tls" }\ntls = { ca = "/no/such.pem" }\n'
        self.assertEqual(
            errors_of(text), ['f:12: cluster.api.tls.ca: cannot read "/no/such.pem": No such file or directory']
        )
        self.assertEqual(
            errors_of(text.replace("/no/such.pem", "/")), ['f:12: cluster.api.tls.ca: cannot read "/": Is a directory']
        )
        self.assertEqual(
            errors_of(text.replace("/no/such.pem", "a\\u0000")),
            ['f:12: cluster.api.tls.ca: cannot read "a\\u0000": it is not the name of a file'],
        )

    def test_readableOnesPass(self) -> None:
        """What is in a file is not the business of this check."""
        path = Path(self.mktemp())
        path.write_text("x")
        self.assertEqual(errors_of(MINIMAL + f'health = {{ type = "tls" }}\ntls = {{ ca = "{path}" }}\n'), [])

    def test_whatIsNotServedIsNotLookedAt(self) -> None:
        """A key that is refused has no second line about its file."""
        self.assertEqual(len(errors_of(MINIMAL + 'tls = { ca = "/no/such.pem" }\n')), 1)

    def test_anyTypesPass(self) -> None:
        """Wrong types are left to the model."""
        self.assertEqual(
            check_files({"cluster": {"a": {"tls": {"ca": 3}}, "b": {"tls": 1}, "c": {"tls": {"ca": ""}}}}), []
        )
