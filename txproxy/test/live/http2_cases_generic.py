"""What every server must accept: the 44 cases of h2spec's generic group."""

from __future__ import annotations

from .http2_bytes import (
    PREFACE,
    WINDOW_BYTES,
    Code,
    Kind,
    Setting,
    block_of,
    continuation,
    data,
    goaway,
    headers,
    indexed,
    ping,
    priority,
    priority_fields,
    rst_stream,
    settings,
    string,
    table_size,
    window_update,
)
from .http2_case import Case, alive, begins, closed, in_turn, reply, send, sends
from .http2_frames import FrameClient, Part, head, request_fields

NO_WINDOW = settings((Setting.INITIAL_WINDOW_SIZE, 0))
_POST = head(1, method=b"POST", ended=False)
_USER_AGENT = bytes.fromhex("87b505b161cc5a93")
"""``user-agent`` with Huffman coding, and so on below (RFC 7541 section 5.2)."""
_X_TEST = bytes.fromhex("85f2b24a84ff")
_H2SPEC = bytes.fromhex("849c48aca4")


def server_preface(client: FrameClient) -> None:
    """The server's first frame is SETTINGS."""
    client.send_raw(PREFACE)
    client.send(settings((Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES)))
    first = client.expect("the first frame", lambda frame: True)
    assert first.kind == Kind.SETTINGS and not first.flags, client.story()


def _data_comes(client: FrameClient) -> None:
    client.expect("DATA on 1", lambda frame: frame.is_a(Kind.DATA, 1))


def _priority_on_closed_stream(client: FrameClient) -> None:
    client.send(head(1))
    client.expect_end(1)
    client.send(priority(1))
    client.expect_ping_ack()


def cut_block(*sizes: int) -> Part:
    """Return a request whose block is cut into HEADERS and CONTINUATION at these places."""

    def made(client: FrameClient) -> bytes:
        block = block_of(request_fields(client.scheme))
        places = [*sizes, len(block)]
        first = headers(1, block[: sizes[0]], complete=False)
        rest = zip(places, places[1:], strict=False)
        return first + b"".join(continuation(1, block[at:end], end == len(block)) for at, end in rest)

    return made


def _answered(client: FrameClient) -> None:
    client.expect_answered_ping()


GENERIC: list[Case] = [
    Case("generic/1/1", "3.4", "the client's preface", server_preface, handshake=False),
    Case("generic/2/1", "5.1", "PRIORITY on an idle stream", sends(priority(1), then=alive)),
    Case("generic/2/2", "5.1", "WINDOW_UPDATE on a half-closed stream",
         sends(NO_WINDOW, head(1), window_update(1, 1), then=_data_comes)),
    Case("generic/2/3", "5.1", "PRIORITY on a half-closed stream",
         sends(NO_WINDOW, head(1), priority(1), window_update(1, 1), then=_data_comes)),
    Case("generic/2/4", "5.1", "RST_STREAM on a half-closed stream", sends(head(1), rst_stream(1), then=alive)),
    Case("generic/2/5", "5.1", "PRIORITY on a closed stream", _priority_on_closed_stream),
    Case("generic/3.1/1", "6.1", "DATA", sends(_POST, data(1, b"test", ended=True), then=begins())),
    Case("generic/3.1/2", "6.1", "several DATA",
         sends(_POST, data(1, b"test"), data(1, b"test", ended=True), then=begins())),
    Case("generic/3.1/3", "6.1", "DATA with padding", sends(_POST, data(1, b"test", ended=True, pad=6), then=begins())),
    Case("generic/3.2/1", "6.2", "HEADERS", sends(head(1), then=begins())),
    Case("generic/3.2/2", "6.2", "HEADERS with padding", sends(head(1, pad=8), then=begins())),
    Case("generic/3.2/3", "6.2", "HEADERS with priority", sends(head(1, priority=priority_fields()), then=begins())),
    Case("generic/3.3/1", "6.3", "PRIORITY with weight 1", sends(priority(1, weight=0), head(1), then=begins())),
    Case("generic/3.3/2", "6.3", "PRIORITY with weight 256", sends(priority(1), head(1), then=begins())),
    Case("generic/3.3/3", "6.3", "PRIORITY with a dependency",
         sends(priority(3, depends_on=1, weight=0), head(1), then=begins())),
    Case("generic/3.3/4", "6.3", "PRIORITY that is exclusive",
         sends(priority(1, weight=0, exclusive=True), head(1), then=begins())),
    Case("generic/3.3/5", "6.3", "PRIORITY on an idle stream, then HEADERS on a lower one",
         sends(priority(3), head(1), then=begins())),
    Case("generic/3.4/1", "6.4", "RST_STREAM", sends(head(1, ended=False), rst_stream(1), then=alive)),
    Case("generic/3.5/1", "6.5", "SETTINGS", in_turn(
        send(settings(
            (Setting.HEADER_TABLE_SIZE, 4096), (Setting.ENABLE_PUSH, 1), (Setting.MAX_CONCURRENT_STREAMS, 100),
            (Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES), (Setting.MAX_FRAME_SIZE, 16384),
            (Setting.MAX_HEADER_LIST_SIZE, 100),
        )),
        FrameClient.expect_settings_ack)),
    Case("generic/3.7/1", "6.7", "PING", lambda client: client.expect_ping_ack(b"h2spec\0\0")),
    Case("generic/3.8/1", "6.8", "GOAWAY", sends(goaway(0, Code.NO_ERROR, b"h2spec"), then=closed)),
    Case("generic/3.9/1", "6.9", "WINDOW_UPDATE of the connection",
         sends(window_update(0, 1), ping(), then=_answered)),
    Case("generic/3.9/2", "6.9", "WINDOW_UPDATE of a stream", sends(head(1), window_update(1, 1), then=begins())),
    Case("generic/3.10/1", "6.10", "CONTINUATION", sends(cut_block(5), then=begins())),
    Case("generic/3.10/2", "6.10", "several CONTINUATION", sends(cut_block(5, 10), then=begins())),
    Case("generic/4/1", "8.1", "GET", sends(head(1), then=reply())),
    Case("generic/4/2", "8.1", "HEAD", sends(head(1, method=b"HEAD"), then=reply(body=b""))),
    Case("generic/4/3", "8.1", "POST", sends(_POST, data(1, b"test", ended=True), then=reply())),
    Case("generic/4/4", "8.1", "POST with trailers", sends(
        head(1, (b"trailer", b"x-test"), method=b"POST", ended=False), data(1, b"test"),
        headers(1, block_of([(b"x-test", b"ok")])), then=reply())),
    Case("generic/5/1", "RFC 7541 6.1", "an indexed field", sends(head(1, after=indexed(58)), then=begins())),
    *(
        Case(f"generic/5/{number}", f"RFC 7541 {section}", f"a literal {kind}, {name}",
             sends(head(1, after=bytes([first]) + encoded), then=begins()))
        for number, section, kind, first, name, encoded in (
            # The new names are spelt as h2spec spells them: it calls them indexed names too.
            (2, "6.2.1", "with incremental indexing", 0x40, "name of the table, Huffman", _USER_AGENT + _H2SPEC),
            (3, "6.2.1", "with incremental indexing", 0x40, "name of the table", string(b"user-agent") + string(b"h2spec")),
            (4, "6.2.1", "with incremental indexing", 0x40, "new name", string(b"x-test") + string(b"h2spec")),
            (5, "6.2.1", "with incremental indexing", 0x40, "new name, Huffman", _X_TEST + _H2SPEC),
            (6, "6.2.2", "without indexing", 0x00, "name of the table", string(b"user-agent") + string(b"h2spec")),
            (7, "6.2.2", "without indexing", 0x00, "name of the table, Huffman", _USER_AGENT + _H2SPEC),
            (8, "6.2.2", "without indexing", 0x00, "new name", string(b"x-test") + string(b"h2spec")),
            (9, "6.2.2", "without indexing", 0x00, "new name, Huffman", _X_TEST + _H2SPEC),
            (10, "6.2.3", "never indexed", 0x10, "name of the table", string(b"user-agent") + string(b"h2spec")),
            (11, "6.2.3", "never indexed", 0x10, "name of the table, Huffman", _USER_AGENT + _H2SPEC),
            (12, "6.2.3", "never indexed", 0x10, "new name", string(b"x-test") + string(b"h2spec")),
            (13, "6.2.3", "never indexed", 0x10, "new name, Huffman", _X_TEST + _H2SPEC),
        )
    ),
    Case("generic/5/14", "RFC 7541 6.3", "a dynamic table size update",
         sends(head(1, before=table_size(0)), then=begins())),
    Case("generic/5/15", "RFC 7541 4.2", "two dynamic table size updates",
         sends(head(1, before=table_size(0) + table_size(4096)), then=begins())),
]  # fmt: skip
