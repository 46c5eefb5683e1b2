"""Files that a configuration names: whether they can be read is said at once, and reading them is bounded."""

from __future__ import annotations

import os
import stat
from errno import EISDIR
from typing import NamedTuple

from txproxy.config.patterns import Raw, matches
from txproxy.config.problems import Finding, quoted

_READ = ("cluster.*.tls.ca", "cluster.*.tls.client_chain", "cluster.*.tls.client_key", "tls.*.client_ca")
"""Files without which the proxy does not start; one bad certificate among several is another matter."""


class FileError(Exception):
    """A file cannot be read; the message names it and says why."""


class FileContent(NamedTuple):
    """What is in a file."""

    data: bytes
    mode: int
    """Its permissions, as ``st_mode`` has them."""


def read_file(name: str, most_bytes: int) -> FileContent:
    """Return what is in a regular file, read once.

    Nothing else is read: a pipe or device might never end, or wait for ever.

    :param most_bytes: in a larger file there is something else than what is looked for.
    :raises FileError: it cannot be read, is not a regular file, is empty or too large.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _unreadable(name, str(error.strerror)) from None
    except ValueError:
        raise _unreadable(name, "it is not the name of a file") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise _unreadable(name, os.strerror(EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(name, "it is not a regular file")
        data = b""
        while len(data) <= most_bytes and (more := os.read(descriptor, most_bytes + 1 - len(data))):
            data += more
    except OSError as error:
        raise _unreadable(name, str(error.strerror)) from None
    finally:
        os.close(descriptor)
    if len(data) > most_bytes:
        raise FileError(f"{quoted(name)} has more than {most_bytes // 1024} KiB (is it the right file?)")
    if not data.strip():
        raise FileError(f"{quoted(name)} is empty")
    return FileContent(data, status.st_mode)


def check_files(raw: Raw) -> list[Finding]:
    """Return a finding for every file that cannot be read.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    findings = []
    for pattern in _READ:
        for path, name in matches(raw, pattern):
            problem = _problem(name) if isinstance(name, str) and name else ""
            if problem:
                findings.append(Finding(path, problem))
    return findings


def _problem(name: str) -> str:
    try:
        read_file(name, MOST_AUTHORITIES_BYTES)
    except FileError as error:
        return str(error)
    return ""


def _unreadable(name: str, reason: str) -> FileError:
    return FileError(f"cannot read {quoted(name)}: {reason}")


MOST_AUTHORITIES_BYTES = 4 * 1024 * 1024
"""Of a file with authorities; that of a whole system has a quarter of a MiB."""
