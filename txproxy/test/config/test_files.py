"""Tests for :mod:`txproxy.config.files`."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.files import FileError, check_files, read_file
from txproxy.test.config.helpers import MINIMAL, errors_of

TLS = MINIMAL + 'tls = { enabled = true, ca = "/no/such.pem" }\n'


class CheckFilesTests(SynchronousTestCase):
    """Files that are named but cannot be read."""

    def test_filesThatCannotBeReadAreNamed(self) -> None:
        """A mistyped path is an error of the configuration, with its line and the system's reason."""
        for name, reason in (
            ("/no/such.pem", 'cannot read "/no/such.pem": No such file or directory'),
            ("/", 'cannot read "/": Is a directory'),
            ("a\\u0000", 'cannot read "a\\u0000": it is not the name of a file'),
            ("/dev/null", 'cannot read "/dev/null": it is not a regular file'),
        ):
            text = TLS.replace("/no/such.pem", name)
            self.assertEqual(errors_of(text), [f"f:11: cluster.api.tls.ca: {reason}"])

    def test_everyFileThatMustBeThere(self) -> None:
        """Authorities and our own certificates must be there; of certificates for clients one may be bad."""
        text = MINIMAL + (
            'tls = { enabled = true, client_chain = "/no/c", client_key = "/no/k" }\n'
            '[tls.a]\nclient_auth = "required"\nclient_ca = "/no/a"\n'
            'certificates = [{ chain = "/no/c", key = "/no/k" }]\n'
        )
        self.assertEqual(
            [error.partition(" cannot")[0] for error in errors_of(text)],
            ["f:11: cluster.api.tls.client_chain:", "f:11: cluster.api.tls.client_key:", "f:14: tls.a.client_ca:"],
        )

    def test_readableOnesPass(self) -> None:
        """What is in a file is not the business of this check."""
        path = Path(self.mktemp())
        path.write_text("x")
        self.assertEqual(errors_of(TLS.replace("/no/such.pem", str(path))), [])

    def test_whatIsRefusedIsNotLookedAt(self) -> None:
        """A key that is refused has no second line about its file."""
        self.assertEqual(len(errors_of(TLS.replace("enabled = true, ", ""))), 1)

    def test_anyTypesPass(self) -> None:
        """Wrong types are left to the model."""
        self.assertEqual(
            check_files({"cluster": {"a": {"tls": {"ca": 3}}, "b": {"tls": 1}, "c": {"tls": {"ca": ""}}}}), []
        )


class ReadFileTests(SynchronousTestCase):
    """Reading is bounded."""

    def test_limits(self) -> None:
        """A file may be as long as the limit, and not be empty."""
        path = self.mktemp()
        for length, reason in (
            (1, ""),
            (2048, ""),
            (2049, f'"{path}" has more than 2 KiB (is it the right file?)'),
            (100_000, f'"{path}" has more than 2 KiB (is it the right file?)'),
            (0, f'"{path}" is empty'),
        ):
            Path(path).write_bytes(b"x" * length)
            if reason:
                self.assertEqual(str(self.assertRaises(FileError, read_file, path, 2048)), reason)
            else:
                self.assertEqual(read_file(path, 2048).data, b"x" * length)

    def test_mode(self) -> None:
        """The permissions are those of the file that was read."""
        path = Path(self.mktemp())
        path.write_text("x")
        path.chmod(0o640)
        self.assertEqual(read_file(str(path), 9).mode & 0o777, 0o640)

    def test_pipes(self) -> None:
        """A pipe that nobody writes to holds nobody up."""
        path = self.mktemp()
        os.mkfifo(path)
        error = self.assertRaises(FileError, read_file, path, 9)
        self.assertEqual(str(error), f'cannot read "{path}": it is not a regular file')
