"""Windows beyond h2spec: further rules of RFC 9113 section 6.9, and what gives windows back."""

from __future__ import annotations

from .http2_bytes import WINDOW_BYTES, WINDOW_LIMIT, Code, Setting, data, settings, window_update
from .http2_case import Case, Run
from .http2_frames import FrameClient, head
from .http2_servers import BIG_BYTES


def _reset_streams_give_back_the_window(client: FrameClient) -> None:
    rounds, frames = 20, 4
    for stream in range(1, 2 * rounds, 2):
        client.send(head(stream, (b"X-UPPER", b"1"), method=b"POST", ended=False))
        client.upload(stream, *([data(stream, b"x" * 16_000)] * frames))
        client.expect_stream_error(stream, Code.PROTOCOL)
    assert client.judge.our_window >= WINDOW_BYTES - 16_000, f"{client.judge.our_window} left; {client.story()}"
    client.expect_served(2 * rounds + 1)


def _stops_at_the_windows(client: FrameClient) -> None:
    def came() -> int:
        return len(client.judge.streams[1].body)

    client.send(head(1, path=b"/big"))
    client.expect("all that both windows allow", lambda _: came() == WINDOW_BYTES)
    client.send(window_update(1, 50_000))
    client.expect_ping_ack()
    assert came() == WINDOW_BYTES
    client.send(window_update(0, 30_000))
    client.expect("all that the connection's window allows", lambda _: came() == WINDOW_BYTES + 30_000)
    client.expect_ping_ack()
    client.send(window_update(0, 1 << 20))
    client.expect("all that the stream's window allows", lambda _: came() == WINDOW_BYTES + 50_000)
    client.expect_ping_ack()
    client.send(window_update(1, 1 << 20))
    assert len(client.expect_reply(1).body) == BIG_BYTES


def _initial_window_is_not_the_connections(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 1 << 20))
    client.send(head(1, path=b"/big"))
    client.expect("all that the connection's window allows",
                  lambda _: len(client.judge.streams[1].body) == WINDOW_BYTES)  # fmt: skip
    client.expect_ping_ack()
    client.send(window_update(0, 1 << 20))
    client.expect_reply(1)


def _windows_of_all_streams_change(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 0))
    client.send(*(head(stream) for stream in (1, 3, 5)))
    client.send(window_update(3, 4))
    client.expect_data(3, 4)
    client.change((Setting.INITIAL_WINDOW_SIZE, 12))
    for stream in (1, 3, 5):
        client.expect_reply(stream, 200, b"conformance\n")


def _no_window_is_needed_for_nothing(path: bytes) -> Run:
    def run(client: FrameClient) -> None:
        client.change((Setting.INITIAL_WINDOW_SIZE, 0))
        client.send(head(1, path=path))
        client.expect_reply(1, 200, b"")

    return run


def _padding_is_given_back(client: FrameClient) -> None:
    count = 2000
    client.send(head(1, method=b"POST", path=b"/echo", ended=False))
    client.upload(1, *([data(1, b"x", pad=255)] * count), data(1, ended=True))
    client.expect_reply(1, 200, b"x" * count)


def _overflow_by_settings(client: FrameClient) -> None:
    client.send(head(1, ended=False), window_update(1, WINDOW_LIMIT - WINDOW_BYTES))
    client.expect_ping_ack()
    client.send(settings((Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES + 1)))
    client.expect_connection_error(Code.FLOW_CONTROL)


WINDOWS: list[Case] = [
    Case("reset-window", "5.1", "DATA on reset streams gives back the connection's window",
         _reset_streams_give_back_the_window),
    Case("data-padding-window", "6.1", "padding counts for the windows and is given back", _padding_is_given_back),
    Case("window-both", "6.9.1", "a reply stops at either window", _stops_at_the_windows),
    Case("window-initial", "6.9.2", "INITIAL_WINDOW_SIZE is not the connection's",
         _initial_window_is_not_the_connections),
    Case("window-all-streams", "6.9.2", "INITIAL_WINDOW_SIZE changes all streams", _windows_of_all_streams_change),
    Case("window-0-empty", "6.9.1", "an empty reply needs no window", _no_window_is_needed_for_nothing(b"/empty")),
    Case("window-0-chunked", "6.9.1", "a reply that turns out empty needs no window",
         _no_window_is_needed_for_nothing(b"/chunked-empty")),
    Case("window-overflow-settings", "6.9.2", "SETTINGS that take a window over the limit", _overflow_by_settings),
]  # fmt: skip
