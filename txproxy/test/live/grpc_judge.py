"""A server and clients of gRPC by grpcio, with messages of plain bytes; who imports this is skipped where that is missing."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .client import DEADLINE_S
from .peers import unused_port
from .tls_front import Front

grpc: Any = pytest.importorskip("grpc", reason="grpcio is not installed")

SERVICE = "judge.Judge"
TOGETHER = 100
_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_OF_A_CLIENT = (*_UNLIMITED, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))

Metadata = list[tuple[str, str | bytes]]


class JudgeServer:
    """A server that says what it saw; a context manager.

    :param port: 0 for any; a number to come back where a stopped one was.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or unused_port()
        self.address = f"127.0.0.1:{self.port}"
        self.metadata: Metadata = []
        """What came with the last call of ``Echo``."""
        self.remaining_s: float | None = None
        """Of the last call of ``Wait``: seconds to its deadline."""
        self.begun: queue.Queue[str] = queue.Queue()
        """Names of the calls that wait for their end."""
        self.ended: queue.Queue[str] = queue.Queue()
        """Names of those whose end the server was told of before it had answered."""
        self.sent = 0
        """Messages of ``Flood`` that were taken so far."""
        self.go_on = threading.Semaphore(0)
        """``Step`` takes one for each message."""
        self._together = threading.Barrier(TOGETHER)
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "Echo": one(self._echo),
            "Fail": one(self._fail),
            "Wait": one(self._wait),
            "Meet": one(self._meet),
            "Step": many(self._step),
            "Flood": many(self._flood),
            "Break": many(self._break),
            "Endless": many(self._endless),
            "Digest": grpc.stream_unary_rpc_method_handler(self._digest),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
            "After": grpc.stream_stream_rpc_method_handler(self._after),
        }
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=TOGETHER + 40),
            handlers=[grpc.method_handlers_generic_handler(SERVICE, handlers)],
            options=_UNLIMITED,
        )
        assert self._server.add_insecure_port(self.address) == self.port
        self._server.start()

    def __enter__(self) -> JudgeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, grace_s: float | None = None) -> None:
        """End the server and cut what is under way, or after so many seconds."""
        self._server.stop(grace_s).wait(DEADLINE_S)

    def say_goodbye(self) -> threading.Event:
        """Take no more calls, by a GOAWAY; return what is set when those under way have ended."""
        over: threading.Event = self._server.stop(DEADLINE_S)
        return over

    def _echo(self, request: bytes, context: Any) -> bytes:
        self.metadata = [(each.key, each.value) for each in context.invocation_metadata()]
        context.send_initial_metadata((("first", "1"), ("first-bin", bytes(range(256)))))
        context.set_trailing_metadata((("last", "2"), ("last", "3"), ("last-bin", b"\x00\xff,\x00")))
        return request

    def _fail(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("reason", "none"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())
        return b""

    def _wait_for_the_end(self, name: str, context: Any) -> None:
        over = threading.Event()
        context.add_callback(over.set)
        self.begun.put(name)
        if over.wait(DEADLINE_S):
            self.ended.put(name)

    def _wait(self, request: bytes, context: Any) -> bytes:
        self.remaining_s = context.time_remaining()
        self._wait_for_the_end(request.decode(), context)
        return b""

    def _meet(self, request: bytes, context: Any) -> bytes:
        self._together.wait(DEADLINE_S)
        return request

    def _step(self, request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(int(request)):
            assert self.go_on.acquire(timeout=DEADLINE_S)
            yield b"%d" % number

    def _flood(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.sent = 0
        for number in range(int(request)):
            yield number.to_bytes(4, "big") * (1 << 14)
            self.sent += 1

    def _break(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield from (b"1", b"2", b"3")
        context.set_trailing_metadata((("reason", "broken"),))
        context.abort(grpc.StatusCode.DATA_LOSS, "after three")

    def _endless(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        self._wait_for_the_end(request.decode(), context)

    def _digest(self, requests: Iterable[bytes], context: Any) -> bytes:
        digest, count = hashlib.sha256(), 0
        for request in requests:
            digest.update(request)
            count += 1
        return b"%d %b" % (count, digest.hexdigest().encode())

    def _chat(self, requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield b"re: " + request

    def _after(self, requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        yield b"hello"
        received = list(requests)
        yield from reversed(received)


class Caller:
    """A client with a connection of its own; a context manager.

    :param listener: by TLS if its name begins with ``https``, else with prior knowledge.
    :param service: whose methods are called.
    """

    def __init__(self, front: Front, listener: str, service: str = SERVICE, **options: int) -> None:
        place = f"127.0.0.1:{front.port(listener)}"
        chosen = [*_OF_A_CLIENT, ("grpc.default_authority", "a.example"), *(
            (f"grpc.{name}", value) for name, value in options.items()
        )]  # fmt: skip
        if listener.startswith("https"):
            credentials = grpc.ssl_channel_credentials(front.root.pem)
            self.channel = grpc.secure_channel(
                place, credentials, options=[*chosen, ("grpc.ssl_target_name_override", "a.example")]
            )
        else:
            self.channel = grpc.insecure_channel(place, options=chosen)
        self._service = service

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def one(self, method: str) -> Any:
        """Return what calls a method with one message each way."""
        return self.channel.unary_unary(f"/{self._service}/{method}")

    def many(self, method: str) -> Any:
        """Return what calls a method that answers with several messages."""
        return self.channel.unary_stream(f"/{self._service}/{method}")

    def from_many(self, method: str) -> Any:
        """Return what calls a method that is sent several messages."""
        return self.channel.stream_unary(f"/{self._service}/{method}")

    def both(self, method: str) -> Any:
        """Return what calls a method with several messages each way."""
        return self.channel.stream_stream(f"/{self._service}/{method}")


class Messages:
    """Messages that a client sends one by one as a test says; ``None`` ends them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()

    def put(self, message: bytes | None) -> None:
        """Send a message, or end."""
        self._queue.put(message)

    def __iter__(self) -> Iterator[bytes]:
        # No thread of grpcio may wait here for ever when a test has failed.
        with contextlib.suppress(queue.Empty):
            while (message := self._queue.get(timeout=DEADLINE_S)) is not None:
                yield message
