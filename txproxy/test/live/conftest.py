"""Fixtures that live tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .peers import Backend, ProxyProcess, config_for, continuing


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
