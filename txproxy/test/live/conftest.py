"""Fixtures that live tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .peers import Backend, ProxyProcess, config_for, continuing
from .tls_clusters import AUTHORITY


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend that echoes, of the test's own."""
    with Backend(on_head=continuing) as one:
        yield one


@pytest.fixture
def proxy(backend: Backend) -> Iterator[ProxyProcess]:
    """The proxy in front of ``backend``, checked for a clean end after the test."""
    with ProxyProcess(config_for(backend.address)) as process:
        yield process


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """The file of the authority that signs for backends with TLS."""
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.certificate)
    return str(path)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """Ends what a test has started."""
    with contextlib.ExitStack() as stack:
        yield stack
