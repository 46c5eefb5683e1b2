"""One case of conformance: what a client sends, and the verdict on what comes back. The tables are in ``http2_cases_*``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .http2_bytes import Code
from .http2_frames import FrameClient, Part

Run = Callable[[FrameClient], object]
"""What a case does with a connection."""


class Case(NamedTuple):
    """A case."""

    id: str
    """Its place in h2spec: group, section (of RFC 7540 and RFC 7541), number; or a name of ours."""
    section: str
    """Of RFC 9113, or of another RFC that it names."""
    name: str
    run: Run
    handshake: bool = True
    """The prefaces have been exchanged before."""

    def judge(self, client: FrameClient) -> None:
        """Run it on a new connection.

        :raises AssertionError: if the server does not do as it should.
        """
        if self.handshake:
            client.handshake()
        self.run(client)
        if client.strict:
            unfit = client.judge.violations + client.judge.repeated_resets
            assert not unfit, f"{unfit}; {client.story()}"


def sends(*parts: Part, then: Run) -> Run:
    """Return a case that sends all parts at once and then asks for a verdict."""

    def run(client: FrameClient) -> None:
        client.send(*parts)
        then(client)

    return run


def in_turn(*steps: Run) -> Run:
    """Return a case of several steps."""

    def run(client: FrameClient) -> None:
        for step in steps:
            step(client)

    return run


def send(*parts: Part) -> Run:
    """Return a step that sends."""
    return lambda client: client.send(*parts)


def reply(stream: int = 1, status: int = 200, body: bytes | None = None) -> Run:
    """The request on this stream is answered."""
    return lambda client: client.expect_reply(stream, status, body)


def begins(stream: int = 1) -> Run:
    """The head of a reply comes on this stream."""
    return lambda client: client.expect_headers(stream)


def stream_error(stream: int, *codes: Code) -> Run:
    """The stream fails with one of these codes."""
    return lambda client: client.expect_stream_error(stream, *codes)


def connection_error(*codes: Code) -> Run:
    """The connection fails with one of these codes."""
    return lambda client: client.expect_connection_error(*codes)


def alive(client: FrameClient) -> None:
    """The connection works: PING is answered."""
    client.expect_ping_ack()


def closed(client: FrameClient) -> None:
    """The connection ends."""
    client.expect_closed()


def served_as_before(stream: int) -> Run:
    """A further request on a new stream is answered."""
    return lambda client: client.expect_served(stream)
