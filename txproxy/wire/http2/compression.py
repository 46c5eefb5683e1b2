"""Header compression (RFC 7541): heads are read as hpack reads them, only faster, and written without any state.

hpack makes an object, a log line and a copy of the rest of the block for each field. What is read here is the same to
the last error, in one loop, and a block that came before is not read anew.

What is written uses the static table, and literals that no table takes up, as nginx and HAProxy do: a block means the
same on every connection, so that it can be made once and sent to all, and no secret stands in a table that others can
probe (RFC 7541 section 7.1). Names are written in lower case (RFC 9113 section 8.2.1). Credentials are marked as never
to be indexed, and neither coded nor remembered, nor are cookies: they are as unlike each other as clients are.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import hpack
from hpack.table import HeaderTable

from txproxy.wire.fields import Field
from txproxy.wire.http2 import huffman
from txproxy.wire.memory import Memory

_STATIC: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
"""By index, from 1 on (RFC 7541 Appendix A)."""
_LAST_STATIC = 61

_MOST_BLOCKS = 16
_MOST_BLOCK_BYTES = 1024
_MOST_LIST_BYTES = 4096
"""Of the fields, counted as for SETTINGS_MAX_HEADER_LIST_SIZE; browsers send heads of 1 to 2 KiB. The worst that a peer
can make of this memory is 170 KiB, by a hundred fields of two octets in each block."""
_seen_blocks: set[int] = set()

_PLAIN, _NEVER_INDEXED = 0x00, 0x10
_CREDENTIALS = frozenset((b"authorization", b"proxy-authorization", b"set-cookie"))
_SHORT_COOKIE_BYTES = 20
"""Shorter ones could be guessed (RFC 7541 section 7.1.3)."""
_PERSONAL = _CREDENTIALS | {b"cookie"}

_MOST_CODED_BYTES = 1024
"""Longer strings are sent as they are: to code one takes longer than all else that is done for a reply."""
_MOST_FIELDS = 1024
_MOST_FIELD_BYTES = 512
_MOST_NAMES = 1024
_MOST_NAME_BYTES = 64
_LENGTHS = tuple(bytes((length,)) for length in range(127))


class HeadDecoder(hpack.Decoder):
    """Reads the header blocks of one connection.

    After an error it must not be used any more: the tables of the two sides may differ (RFC 9113 section 4.3).

    :param max_header_list_size: bytes that a block may have when it is unpacked, each field counted with 32 more.
    """

    def __init__(self, max_header_list_size: int = 65536) -> None:
        self._blocks: Memory[bytes, list[Field]] = Memory(_MOST_BLOCKS, seen=_seen_blocks)
        self._recall = self._blocks.recall
        super().__init__(max_header_list_size)

    @property
    def max_header_list_size(self) -> int:
        """Bytes that a block may have when it is unpacked."""
        return self._max_header_list_size

    @max_header_list_size.setter
    def max_header_list_size(self, size: int) -> None:
        self._max_header_list_size = size
        self._blocks.forget()

    @property
    def max_allowed_table_size(self) -> int:
        """Bytes that the peer may let its table have: SETTINGS_HEADER_TABLE_SIZE, when it is acknowledged."""
        return self._max_allowed_table_size

    @max_allowed_table_size.setter
    def max_allowed_table_size(self, size: int) -> None:
        self._max_allowed_table_size = size
        self._blocks.forget()

    @property
    def header_table_size(self) -> int:
        """Bytes that the table may have now."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        self.header_table.maxsize = size
        self._blocks.forget()

    def decode(self, data: bytes, raw: bool = True) -> list[Field]:  # type: ignore[override]
        """Read one header block.

        :param data: the whole block.
        :param raw: as hpack has it; fields are bytes always.
        :return: the fields in order. The same list is returned for the same block: it must not be changed.
        :raises OversizedHeaderListError: if the fields are more than ``max_header_list_size``.
        :raises InvalidTableIndexError: if a field is meant that is in no table.
        :raises InvalidTableSizeError: if the peer's table is larger than is allowed.
        :raises HPACKDecodingError: if the block is broken in another way. All the others are kinds of it.
        """
        known = self._recall(data)
        if known is not None:
            return known
        table = self.header_table
        # Looked into directly: get_by_index takes 130 ns, for each field of a head.
        entries = table.dynamic_entries
        room = most = self._max_header_list_size
        fields: list[Field] = []
        is_same = True
        at, end = 0, len(data)
        try:
            while at < end:
                first = data[at]
                at += 1
                if first > 0x7F:  # Indexed (section 6.1)
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _read_integer(data, at, 0x7F)
                    if index > _LAST_STATIC:
                        try:
                            field = entries[index - _LAST_STATIC - 1]
                        except IndexError:
                            raise hpack.InvalidTableIndexError(f"index {index}") from None
                    elif index:
                        field = _STATIC[index]
                    else:
                        raise hpack.InvalidTableIndexError("index 0")
                else:
                    if first > 0x3F:  # Literal with incremental indexing (section 6.2.1)
                        most_index = 0x3F
                    elif first > 0x1F:  # Size update (section 6.3)
                        if fields:
                            raise hpack.HPACKDecodingError("a size update behind a field")
                        is_same = False
                        at = self._update_size(data, at - 1)
                        continue
                    else:  # Literal without indexing, or never indexed (sections 6.2.2 and 6.2.3)
                        most_index = 0x0F
                    index = first & most_index
                    if index:
                        if index == most_index:
                            index, at = _read_integer(data, at, index)
                        name = _STATIC[index][0] if index <= _LAST_STATIC else table.get_by_index(index)[0]
                    else:
                        name, at = _read_string(data, at)
                    value, at = _read_string(data, at)
                    if first > 0x3F:
                        if is_same:
                            is_same = False
                            self._blocks.forget()
                        table.add(name, value)
                        # None is there when the field is larger than the table (section 4.4).
                        field = entries[0] if entries else (name, value)
                    else:
                        field = name, value
                fields.append(field)
                room -= len(field[0]) + len(field[1]) + 32
                if room < 0:
                    raise hpack.OversizedHeaderListError(f"more than {most} bytes of fields")
        except IndexError:
            raise hpack.HPACKDecodingError("the header block is cut short") from None
        if table.maxsize > self._max_allowed_table_size:
            raise hpack.InvalidTableSizeError("the table was not made smaller as it was acknowledged")
        if is_same and end <= _MOST_BLOCK_BYTES and most - room <= _MOST_LIST_BYTES:
            self._blocks.learn(data, fields)
        return fields

    def _update_size(self, data: bytes, at: int) -> int:
        """Take size updates, as many as there are, in one step: else each octet of a block could cost a microsecond.

        :param at: where the first begins.
        :return: where the last ends.
        """
        last = least = self.header_table.maxsize
        try:
            while at < len(data) and data[at] & 0xE0 == 0x20:
                size = data[at] & 0x1F
                at += 1
                if size == 0x1F:
                    size, at = _read_integer(data, at, size)
                if size > self._max_allowed_table_size:
                    raise hpack.InvalidTableSizeError(f"a table of {size} bytes")
                last, least = size, min(least, size)
        finally:
            # What the least size has pushed out does not come back (section 4.2).
            self.header_table_size = least
            self.header_table_size = last
        return at


def _read_integer(data: bytes, at: int, number: int) -> tuple[int, int]:
    """Read the rest of an integer whose prefix is full (RFC 7541 section 5.1).

    :param at: where the rest begins.
    :param number: what the prefix says.
    :return: the integer, and where it ends.
    :raises HPACKDecodingError: if it has more than five octets: hpack's limit too, and enough for 32 bits.
    :raises IndexError: if it has no end.
    """
    for shift in (0, 7, 14, 21, 28):
        octet = data[at]
        at += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
    raise hpack.HPACKDecodingError("an integer is too long")


def _read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a string (RFC 7541 section 5.2).

    :param at: where its length begins.
    :return: the string, and where it ends.
    :raises HPACKDecodingError: if its Huffman code is wrong.
    :raises IndexError: if it is cut short.
    """
    first = data[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _read_integer(data, at, 0x7F)
    end = at + length
    if end > len(data):
        raise IndexError
    return huffman.decode(data[at:end]) if first > 0x7F else data[at:end], end


def _write_integer(number: int, flags: int, most: int) -> bytes:
    """Write an integer (RFC 7541 section 5.1).

    :param flags: bits that stand before it in its first octet.
    :param most: what fills its prefix.
    """
    if number < most:
        return bytes((flags | number,))
    octets = bytearray((flags | most,))
    number -= most
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _write_string(text: bytes) -> bytes:
    """Write a string, in Huffman code where that is shorter."""
    if len(text) <= _MOST_CODED_BYTES:
        coded = huffman.encode(text)
        if len(coded) < len(text):
            return _write_integer(len(coded), 0x80, 0x7F) + coded
    return _write_integer(len(text), 0x00, 0x7F) + text


def _write_name(name: bytes, flags: int) -> bytes:
    """Write what a literal begins with: how it is to be indexed, and its name.

    :param name: in lower case.
    """
    static = HeaderTable.STATIC_TABLE_MAPPING.get(name)
    return _write_integer(static[0], flags, 0x0F) if static else bytes((flags,)) + _write_string(name)


def _prefix_of(name: bytes) -> bytes:
    """Return what a literal with some name begins with.

    :param name: in any spelling.
    """
    lower = name.lower()
    prefix = _write_name(lower, _NEVER_INDEXED if lower in _CREDENTIALS else _PLAIN)
    if len(name) <= _MOST_NAME_BYTES:
        _names.learn(name, prefix)
    return prefix


def _usual_names() -> dict[bytes, bytes]:
    """Return what literals begin with whose names are in the static table, as HTTP/2 and as HTTP/1 spell them."""
    usual = {}
    for name in HeaderTable.STATIC_TABLE_MAPPING:
        prefix = _write_name(name, _NEVER_INDEXED if name in _CREDENTIALS else _PLAIN)
        usual[name] = usual[name.title()] = prefix
    return usual


_COOKIE = _write_name(b"cookie", _PLAIN)
_SHORT_COOKIE = _write_name(b"cookie", _NEVER_INDEXED)

_names: Memory[bytes, bytes] = Memory(_MOST_NAMES, known=_usual_names())
_fields: Memory[Field, bytes] = Memory(_MOST_FIELDS)
_recall_name = _names.recall
_recall_field = _fields.recall


def encode_unique(name: bytes, value: bytes) -> bytes:
    """Write a field whose value never repeats, such as a date or an id: as a literal that is not coded.

    :param name: in any spelling.
    """
    prefix = _recall_name(name)
    if prefix is None:
        prefix = _prefix_of(name)
    length = len(value)
    if length < _SHORT_COOKIE_BYTES and prefix == _COOKIE:
        prefix = _SHORT_COOKIE
    if length < 127:
        return prefix + _LENGTHS[length] + value
    return prefix + _write_integer(length, 0x00, 0x7F) + value


def encode_field(name: bytes, value: bytes) -> bytes:
    """Write a field. What is small, and is no credential, is remembered when it comes again.

    :param name: in any spelling.
    """
    block = _recall_field((name, value))
    return _write_field(name, value) if block is None else block


def _write_field(name: bytes, value: bytes) -> bytes:
    lower = name.lower()
    static = HeaderTable.STATIC_TABLE_MAPPING.get(lower)
    index = static[1].get(value) if static else None
    if index is not None:
        block = _write_integer(index, 0x80, 0x7F)
    elif lower in _PERSONAL:
        return encode_unique(name, value)
    else:
        prefix = _recall_name(name)
        block = (_prefix_of(name) if prefix is None else prefix) + _write_string(value)
    if len(name) + len(value) <= _MOST_FIELD_BYTES:
        _fields.learn((name, value), block)
    return block


def encode_fields(fields: Iterable[Field]) -> bytes:
    """Write fields in their order."""
    return b"".join([encode_field(name, value) for name, value in fields])


@lru_cache(maxsize=1024)
def encode_status(status: int) -> bytes:
    """Write the status of a reply, which comes before its fields (RFC 9113 section 8.3.2).

    :param status: of three digits.
    """
    return encode_field(b":status", b"%d" % status)
