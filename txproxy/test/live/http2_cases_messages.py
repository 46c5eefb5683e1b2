"""Messages and header compression: the rest of h2spec, 18 cases of section 8 of RFC 7540 and 8 of RFC 7541."""

from __future__ import annotations

from .http2_bytes import Code, Setting, block_of, data, headers, indexed, literal, push_promise, table_size
from .http2_case import Case, Run, connection_error, sends, stream_error
from .http2_frames import FrameClient, Part, head, request_fields

_POST = head(1, method=b"POST", ended=False)
_malformed = stream_error(1, Code.PROTOCOL)
_undecodable = connection_error(Code.COMPRESSION)


def fields_of(*names: bytes, first: tuple[tuple[bytes, bytes], ...] = ()) -> Part:
    """Return a request with these pseudo-fields only, in this order.

    :param first: fields before them.
    """

    def made(client: FrameClient) -> bytes:
        known = dict(request_fields(client.scheme))
        return headers(1, block_of([*first, *((name, known[name]) for name in names)]))

    return made


def _with(*fields: tuple[bytes, bytes]) -> Run:
    return sends(head(1, *fields), then=_malformed)


def _only(*names: bytes) -> Run:
    return sends(fields_of(*names), then=_malformed)


def _block_ends(encoded: bytes) -> Run:
    return sends(head(1, after=encoded), then=_undecodable)


def _table_too_large(client: FrameClient) -> None:
    limit = client.judge.settings.get(Setting.HEADER_TABLE_SIZE, 4096)
    client.send(head(1, before=table_size(limit + 1)))
    client.expect_connection_error(Code.COMPRESSION)


_ALL = (b":method", b":scheme", b":path", b":authority")
_DECLARES_ONE = head(1, (b"content-length", b"1"), method=b"POST", ended=False)

MESSAGES: list[Case] = [
    Case("http2/8.1/1", "8.1", "trailers without END_STREAM",
         sends(_POST, data(1, b"test"), headers(1, block_of([(b"x-test", b"ok")]), ended=False), then=_malformed)),
    Case("http2/8.1.2/1", "8.2.1", "a name in upper case", _with((b"X-TEST", b"ok"))),
    Case("http2/8.1.2.1/1", "8.3", "an unknown pseudo-field", _with((b":test", b"ok"))),
    Case("http2/8.1.2.1/2", "8.3", "a pseudo-field of replies", _with((b":status", b"200"))),
    Case("http2/8.1.2.1/3", "8.3", "a pseudo-field in trailers",
         sends(_POST, data(1, b"test"), headers(1, block_of([(b":method", b"POST")]), ended=False), then=_malformed)),
    Case("http2/8.1.2.1/4", "8.3", "a pseudo-field after another field",
         sends(fields_of(*_ALL, first=((b"x-test", b"ok"),)), then=_malformed)),
    Case("http2/8.1.2.2/1", "8.2.2", "Connection", _with((b"connection", b"keep-alive"))),
    Case("http2/8.1.2.2/2", "8.2.2", "TE with more than trailers",
         _with((b"trailers", b"test"), (b"te", b"trailers, deflate"))),
    Case("http2/8.1.2.3/1", "8.3.1", "an empty :path", sends(head(1, path=b""), then=_malformed)),
    Case("http2/8.1.2.3/2", "8.3.1", "no :method", _only(b":path", b":authority")),
    Case("http2/8.1.2.3/3", "8.3.1", "no :scheme", _only(b":method", b":path", b":authority")),
    Case("http2/8.1.2.3/4", "8.3.1", "no :path", _only(b":method", b":scheme", b":authority")),
    Case("http2/8.1.2.3/5", "8.3.1", "two :method", _only(*_ALL, b":method")),
    Case("http2/8.1.2.3/6", "8.3.1", "two :scheme", _only(*_ALL, b":scheme")),
    Case("http2/8.1.2.3/7", "8.3.1", "two :path", _only(*_ALL, b":path")),
    Case("http2/8.1.2.6/1", "8.1.1", "content-length other than DATA",
         sends(_DECLARES_ONE, data(1, b"test", ended=True), then=_malformed)),
    Case("http2/8.1.2.6/2", "8.1.1", "content-length other than all DATA",
         sends(_DECLARES_ONE, data(1, b"test"), data(1, b"test", ended=True), then=_malformed)),
    Case("http2/8.2/1", "8.4", "PUSH_PROMISE", sends(
        lambda client: push_promise(1, 3, block_of(request_fields(client.scheme))),
        then=connection_error(Code.PROTOCOL))),
]  # fmt: skip

COMPRESSION: list[Case] = [
    Case("hpack/2.3.3/1", "RFC 7541 2.3.3", "an index beyond the tables", _block_ends(indexed(126))),
    Case("hpack/2.3.3/2", "RFC 7541 2.3.3", "a literal with an index beyond the tables",
         _block_ends(b"\x7f\x41" + literal(b"", b"ok")[2:])),
    Case("hpack/4.2/1", "RFC 7541 4.2", "a table size update at the end of a block", _block_ends(table_size(1))),
    Case("hpack/5.2/1", "RFC 7541 5.2", "Huffman padding of more than 7 bits",
         _block_ends(bytes.fromhex("0085f2b24a84ff8449509fff"))),
    Case("hpack/5.2/2", "RFC 7541 5.2", "Huffman padding of zeros",
         _block_ends(bytes.fromhex("0085f2b24a84ff83495090"))),
    Case("hpack/5.2/3", "RFC 7541 5.2", "EOS in a Huffman string",
         _block_ends(bytes.fromhex("0085f2b24a87fffffffd25427f"))),
    Case("hpack/6.1/1", "RFC 7541 6.1", "index 0", _block_ends(indexed(0))),
    Case("hpack/6.3/1", "RFC 7541 6.3", "a table size over SETTINGS_HEADER_TABLE_SIZE", _table_too_large),
]  # fmt: skip
