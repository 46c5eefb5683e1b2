"""Which probe a cluster's settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from txproxy.tls.client import ClientContext
from txproxy.upstream.checks.probe import Check, Probe, ProbeFailed, ProbeTarget
from txproxy.upstream.checks.probe_http import Expectation, HttpConversation, status_range, write_check_request
from txproxy.upstream.checks.probe_http2 import Http2Conversation, write_check_block
from txproxy.upstream.checks.probe_python import PythonProbe
from txproxy.upstream.checks.probe_socket import Conversation, SocketProbe
from txproxy.wire.fields import FieldTokenizer

__all__ = ["Probe", "ProbeFailed", "ProbeSettings", "ProbeTarget", "make_probe"]


class ProbeSettings(NamedTuple):
    """What is checked and how; see the configuration's ``health`` section."""

    type: str = "http"
    """``http``, ``tcp``, ``tls``; anything else stands for ``function``."""
    path: str = "/health"
    """Path and query that an http check asks for."""
    host: str = ""
    """Host that an http check sends; empty: the target's own."""
    headers: Mapping[str, str] = {}
    """Further fields that an http check sends."""
    statuses: tuple[str, ...] = ("200-399",)
    """Statuses that are healthy, as ``200`` or ``200-399``."""
    body: str = ""
    """Text that the first 64 KiB of a reply's body must contain; empty: any body."""
    timeout_s: float = 2.0
    """For a whole check, from connecting to the last byte that matters."""
    tls: ClientContext | None = None
    """How an http check speaks TLS, None: not at all. A tls check needs it."""
    http2: bool = False
    """An http check speaks HTTP/2."""
    preface: bytes = b""
    """What each connection of a check begins with, a header of the PROXY protocol for instance."""
    function: Callable[[ProbeTarget], Any] | None = None
    """The user's own check."""


def make_probe(settings: ProbeSettings, reactor: Any) -> Probe:
    """Return the probe that settings ask for.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime.
    :raises ValueError: a field may not be set, or something is missing.
    """
    if settings.type not in ("http", "tcp", "tls"):
        if settings.function is None:
            raise ValueError(f"there is no function for health checks of type {settings.type!r}")
        return PythonProbe(reactor, settings.timeout_s, settings.function)
    tls = settings.tls
    if settings.type == "http":
        make = _http2_conversations(settings) if settings.http2 else _http_conversations(settings)
        return SocketProbe(reactor, settings.timeout_s, make, tls, settings.http2, settings.preface)
    if settings.type == "tcp":
        tls = None
    elif tls is None:
        raise ValueError("a health check of type tls needs to know how TLS is spoken")
    return SocketProbe(reactor, settings.timeout_s, lambda check, _: Conversation(check), tls, preface=settings.preface)


def _http_conversations(settings: ProbeSettings) -> Callable[[Check, ProbeTarget], Conversation]:
    expectation = Expectation(tuple(map(status_range, settings.statuses)), settings.body.encode())
    tokenizer = FieldTokenizer()
    host = settings.host.encode()
    write_check_request(settings.path, host, settings.headers)  # Fields that cannot be sent are refused now.

    def make_conversation(check: Check, target: ProbeTarget) -> Conversation:
        request = write_check_request(settings.path, host or target.host_field, settings.headers)
        return HttpConversation(check, request, expectation, tokenizer)

    return make_conversation


def _http2_conversations(settings: ProbeSettings) -> Callable[[Check, ProbeTarget], Conversation]:
    expectation = Expectation(tuple(map(status_range, settings.statuses)), settings.body.encode())
    host, scheme = settings.host.encode(), b"http" if settings.tls is None else b"https"
    write_check_block(settings.path, host, settings.headers, scheme)  # See above.

    def make_conversation(check: Check, target: ProbeTarget) -> Conversation:
        block = write_check_block(settings.path, host or target.host_field, settings.headers, scheme)
        return Http2Conversation(check, block, expectation)

    return make_conversation
