"""Configurations with TLS towards clients, and openssl as a client that is not ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from .client import DEADLINE_S
from .peers import Backend, ProxyProcess
from .tls_identities import Issuer, Leaf

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


class Front(NamedTuple):
    """A proxy with TLS in front of a backend."""

    proxy: ProxyProcess
    backend: Backend
    root: Issuer
    """Whoever trusts it trusts the proxy's certificates."""
    leaves: dict[str, Leaf]
    """Certificates by the name of their file."""
    directory: Path
    """Where the files are."""

    def port(self, name: str) -> int:
        """Port of a listener."""
        return self.proxy.ports[name]

    def identity(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"


def listener(name: str, keys: str = "", address: str = "127.0.0.1:0") -> str:
    """Return a listener.

    :param keys: further keys, one a line.
    """
    return f'[[listener]]\nname = "{name}"\naddress = "{address}"\n{keys}\n'


def section(name: str, pairs: Iterable[str], keys: str = "") -> str:
    """Return a section of TLS settings; without HTTP/2, which is no matter of these tests.

    :param pairs: certificates as ``Leaf.save`` returns them, the default first.
    """
    return f'[tls.{name}]\ncertificates = [{", ".join(pairs)}]\nalpn = ["http/1.1"]\n{keys}\n'


def front(backend: str, *parts: str, route: str = "") -> str:
    """Return a configuration of these parts, with one route to one backend.

    :param route: further keys of the route.
    """
    return (
        f'[[route]]\nname = "all"\ncluster = "origin"\n{route}\n'
        f'[cluster.origin]\nbackends = [{{ address = "{backend}" }}]\n' + "".join(parts)
    )


def one_front(backend: str, pair: str, keys: str = "", tls: str = "") -> str:
    """Return the smallest configuration: one listener ``https`` with one certificate.

    :param keys: further keys of the listener; ``tls``: of the section.
    """
    return front(backend, listener("https", f'tls = "main"\n{keys}'), section("main", [pair], tls))


def needed(program: str) -> str:
    """Return the path of a program, or skip the test and say why."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


class Shown:
    """What ``openssl s_client`` printed."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def certificate(self) -> str:
        """The certificate that the server showed, as PEM; empty if none."""
        found = _PEM.search(self.text)
        return found[0] if found else ""

    def is_of(self, leaf: Leaf) -> bool:
        """Whether the server showed this certificate."""
        return bool(self.certificate) and leaf.chain.decode().startswith(self.certificate)

    @property
    def alert(self) -> int:
        """Number of the alert that the server sent; 0 if none."""
        found = re.search(r"SSL alert number (\d+)", self.text)
        return int(found[1]) if found else 0


def s_client(to: int | str, *arguments: str, say: bytes = b"") -> Shown:
    """Shake hands by ``openssl s_client``, say something, and return all that it printed, its complaints included.

    :param to: a port of 127.0.0.1, or further addresses as ``-connect`` takes them.
    :param say: what is sent; the connection is then read until the server closes it.
    """
    place = f"127.0.0.1:{to}" if isinstance(to, int) else to
    done = subprocess.run(  # the command line is the test's own
        [needed("openssl"), "s_client", *(("-connect", place) if place else ()), *arguments,
         *(("-ign_eof",) if say else ())],
        input=say, capture_output=True, timeout=2 * DEADLINE_S, check=False,
    )  # fmt: skip
    return Shown((done.stdout + done.stderr).decode(errors="replace"))


def closing_get(host: str, target: str = "/") -> bytes:
    """Return a request after which the server closes."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
