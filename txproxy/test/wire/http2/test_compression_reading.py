"""Header blocks are read as RFC 7541 has it: its examples, what is refused, what is bounded, what is remembered."""

from __future__ import annotations

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.settings import SettingCodes
from hpack.table import HeaderTable
from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.fields import Field
from txproxy.wire.http2.compression import HeadDecoder

_PLENTY = 65536


def ours() -> HeadDecoder:
    return HeadDecoder(_PLENTY)


class ExampleTests(SynchronousTestCase):
    """The examples of RFC 7541 Appendix C."""

    def assert_read(self, decoder: HeadDecoder, block: str, fields: list[Field], table: list[Field]) -> None:
        self.assertEqual(decoder.decode(bytes.fromhex(block)), fields)
        self.assertEqual(list(decoder.header_table.dynamic_entries), table)

    def test_integers(self) -> None:
        """Of one octet, and of more (C.1)."""
        for block, size in (("2a", 10), ("3f9a0a", 1337)):
            decoder = ours()
            self.assert_read(decoder, block, [], [])
            self.assertEqual(decoder.header_table_size, size)

    def test_fields(self) -> None:
        """Each way in which a field can be written (C.2)."""
        custom = [(b"custom-key", b"custom-header")]
        self.assert_read(ours(), "400a637573746f6d2d6b65790d637573746f6d2d686561646572", custom, custom)
        self.assert_read(ours(), "040c2f73616d706c652f70617468", [(b":path", b"/sample/path")], [])
        self.assert_read(ours(), "100870617373776f726406736563726574", [(b"password", b"secret")], [])
        self.assert_read(ours(), "82", [(b":method", b"GET")], [])

    def test_requests(self) -> None:
        """Three on one connection, with Huffman code and without (C.3, C.4)."""
        authority, cache = (b":authority", b"www.example.com"), (b"cache-control", b"no-cache")
        custom = (b"custom-key", b"custom-value")
        get = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), authority]
        index = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), authority, custom]
        for first, second, third in (
            (
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ),
            (
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ),
        ):
            decoder = ours()
            self.assert_read(decoder, first, get, [authority])
            self.assert_read(decoder, second, [*get, cache], [cache, authority])
            self.assert_read(decoder, third, index, [custom, cache, authority])

    def test_replies(self) -> None:
        """Three on one connection whose table is too small for all fields (C.5, C.6)."""
        found, moved, ok = (b":status", b"302"), (b":status", b"307"), (b":status", b"200")
        private, location = (b"cache-control", b"private"), (b"location", b"https://www.example.com")
        early, late = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"), (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
        gzip = (b"content-encoding", b"gzip")
        cookie = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
        for first, second, third in (
            (
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a"
                "2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48"
                "514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
            ),
            (
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae"
                "43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af"
                "27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ),
        ):
            decoder = ours()
            decoder.header_table_size = 256
            self.assert_read(decoder, first, [found, private, early, location], [location, early, private, found])
            self.assert_read(decoder, second, [moved, private, early, location], [moved, location, early, private])
            self.assert_read(decoder, third, [ok, private, late, location, gzip, cookie], [cookie, gzip, late])


class IndexTests(SynchronousTestCase):
    """Both tables are one, in which the static comes first (RFC 7541 section 2.3.3)."""

    def test_bothTables(self) -> None:
        """Each entry, as a field and as a name, while there are others behind the static table."""
        decoder = ours()
        decoder.decode(b"\x40\x03old\x011\x40\x03new\x012")
        entries: list[Field] = [*HeaderTable.STATIC_TABLE, (b"new", b"2"), (b"old", b"1")]
        self.assertEqual(len(entries), 63)
        for index, (name, value) in enumerate(entries, 1):
            self.assertEqual(decoder.decode(bytes((0x80 | index,))), [(name, value)], index)
            number = bytes((index,)) if index < 15 else bytes((15, index - 15))
            self.assertEqual(decoder.decode(number + b"\x01x"), [(name, b"x")], index)


class BrokenBlockTests(SynchronousTestCase):
    """What no peer may send ends in the error that says so."""

    def assert_refused(self, error: type[hpack.HPACKError], *blocks: bytes) -> None:
        for block in blocks:
            with self.assertRaises(error) as caught:
                ours().decode(block)
            self.assertIs(type(caught.exception), error, block)

    def test_index(self) -> None:
        """Index 0, and one beyond both tables, means nothing (sections 2.3.3 and 6.1)."""
        self.assert_refused(
            hpack.InvalidTableIndexError, b"\x80", b"\x82\x80", b"\xbe", b"\x40\x01a\x01b\xbf", b"\xff\x00",
            b"\xff\xff\xff\xff\xff\x7f",
        )  # fmt: skip
        for block in (b"\x7e\x01a", b"\x7f\x00\x01a", b"\x0f\x30\x01a", b"\x1f\x30\x01a"):
            self.assertRaises(hpack.InvalidTableIndexError, ours().decode, block)

    def test_indexZeroIsNotCountedFromTheEnd(self) -> None:
        """Nor does it mean an old field when the table is full of them."""
        block = b"".join(b"\x40\x01a\x01%c" % code for code in range(100))
        decoder = ours()
        decoder.decode(block)
        self.assertGreater(len(decoder.header_table.dynamic_entries), 62)
        self.assertRaises(hpack.InvalidTableIndexError, decoder.decode, b"\x80")

    def test_cutShort(self) -> None:
        """A block ends where a field ends."""
        self.assert_refused(
            hpack.HPACKDecodingError, b"\x40", b"\x40\x01", b"\x40\x01a", b"\x40\x01a\x01", b"\x40\x02a", b"\x04", b"\x04\x01",
            b"\x0f", b"\xff", b"\xff\x80", b"\x3f", b"\x04\x7f", b"\x04\x7f\x80", b"\x82\x04\x05abcd", b"\x00\x7f\xff\xff\xff\xff\x7f",
        )  # fmt: skip

    def test_aFieldThatIsCutShortDoesNotEnterTheTable(self) -> None:
        """The table holds whole fields only."""
        decoder = ours()
        self.assertRaises(hpack.HPACKDecodingError, decoder.decode, b"\x40\x01a\x02b")
        self.assertEqual(list(decoder.header_table.dynamic_entries), [])

    def test_integersWithoutEnd(self) -> None:
        """An integer of more than five octets behind its prefix is refused, also if it means a small one."""
        self.assert_refused(
            hpack.HPACKDecodingError, b"\xff\x80\x80\x80\x80\x80\x00", b"\x3f\x80\x80\x80\x80\x80\x00",
            b"\x0f\x80\x80\x80\x80\x80\x00\x00", b"\x7f\x80\x80\x80\x80\x80\x00\x00", b"\x04\x7f\x80\x80\x80\x80\x80\x00",
            b"\xff" + b"\xff" * 1000,
        )  # fmt: skip
        self.assertEqual(ours().decode(b"\x0f\x80\x80\x80\x80\x00\x00"), [(b"accept-charset", b"")])

    def test_huffman(self) -> None:
        """The end of a string within it, long padding, and padding that is not ones, in names and values (section 5.2)."""
        for string in (
            b"\x84\xff\xff\xff\xff",
            b"\x85\xff\xff\xff\xff\x1f",
            b"\x82\x1f\xff",
            b"\x81\xff",
            b"\x81\x1e",
            b"\x81\x18",
        ):
            for start in (b"\x00", b"\x10", b"\x40"):
                self.assert_refused(hpack.HPACKDecodingError, start + string + b"\x01a", start + b"\x01a" + string)


class TableSizeTests(SynchronousTestCase):
    """How large the table is, is agreed on (RFC 7541 sections 4.2 and 6.3)."""

    def test_updatesStandAtTheStart(self) -> None:
        """One behind a field is refused, wherever it is."""
        for block in (b"\x82\x20", b"\x82\x20\x82", b"\x20\x82\x20", b"\x40\x01a\x01b\x3f\xe1\x1f"):
            self.assertRaises(hpack.HPACKDecodingError, ours().decode, block)
        decoder = ours()
        self.assertEqual(decoder.decode(b"\x20\x3f\xe1\x1f\x82"), [(b":method", b"GET")])
        self.assertEqual(decoder.header_table_size, 4096)

    def test_tooLarge(self) -> None:
        """No more than what was acknowledged."""
        for block in (b"\x3f\xe2\x1f", b"\x20\x3f\xe2\x1f", b"\x3f\xe2\x1f\x20", b"\x3f\xff\xff\xff\xff\x0f"):
            self.assertRaises(hpack.InvalidTableSizeError, ours().decode, block)
        decoder = ours()
        decoder.max_allowed_table_size = 4097
        decoder.decode(b"\x3f\xe2\x1f")
        self.assertEqual(decoder.header_table_size, 4097)

    def test_theLeastSizeEmpties(self) -> None:
        """What does not fit for a moment is gone, also if the size grows again in the same block."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b\x40\x01c\x01d")
        decoder.decode(b"\x3f\x03\x3f\xe1\x1f")  # 34, which is one field
        self.assertEqual(list(decoder.header_table.dynamic_entries), [(b"c", b"d")])
        decoder.decode(b"\x20\x3f\xe1\x1f")
        self.assertRaises(hpack.InvalidTableIndexError, decoder.decode, b"\xbe")

    def test_manyUpdates(self) -> None:
        """An encoder that signals each change of its mind is understood."""
        decoder = ours()
        self.assertEqual(decoder.decode(b"\x20\x21" * 5000 + b"\x22\x82"), [(b":method", b"GET")])
        self.assertEqual(decoder.header_table_size, 2)

    def test_aPeerThatDoesNotShrink(self) -> None:
        """It must, once it has acknowledged the smaller size; a block that was read before is no way round."""
        decoder = ours()
        for _ in range(3):
            decoder.decode(b"\x82")
        decoder.max_allowed_table_size = 100
        self.assertRaises(hpack.InvalidTableSizeError, decoder.decode, b"\x82")
        self.assertEqual(decoder.decode(b"\x3f\x45\x82"), [(b":method", b"GET")])

    def test_fieldsLargerThanTheTable(self) -> None:
        """They empty it, and are read all the same (section 4.4)."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b")
        self.assertEqual(decoder.decode(b"\x40\x01c\x7f\x81\x27" + b"v" * 5120), [(b"c", b"v" * 5120)])
        self.assertEqual(list(decoder.header_table.dynamic_entries), [])


class ListSizeTests(SynchronousTestCase):
    """A small block must not become a large head."""

    def test_theLimit(self) -> None:
        """Names, values and 32 for each field count, in each kind of field."""
        block = b"\x82\x40\x01a\x01b\xbe\x00\x01c\x01d"
        size = 32 * 4 + len(b":methodGETababcd")
        self.assertEqual(len(HeadDecoder(size).decode(block)), 4)
        self.assertRaises(hpack.OversizedHeaderListError, HeadDecoder(size - 1).decode, block)

    def test_bomb(self) -> None:
        """A large field that is meant over and over is noticed at once: what follows is not even looked at."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x7f\x81\x1e" + b"v" * 3968)
        self.assertRaises(hpack.OversizedHeaderListError, decoder.decode, b"\xbe" * 17 + b"\x80" * 16000)

    def test_aLowerLimitHoldsForWhatWasReadBefore(self) -> None:
        """A block that came before is no way round."""
        decoder = ours()
        for _ in range(3):
            decoder.decode(b"\x82")
        decoder.max_header_list_size = 41
        self.assertRaises(hpack.OversizedHeaderListError, decoder.decode, b"\x82")
        decoder.max_header_list_size = 42
        self.assertEqual(decoder.decode(b"\x82"), [(b":method", b"GET")])


class RepetitionTests(SynchronousTestCase):
    """A block that came before is not read anew, and means what it means now."""

    def assert_remembered(self, decoder: HeadDecoder, block: bytes, remembered: bool = True) -> None:
        decoder.decode(block)
        decoder.decode(block)
        first, second = decoder.decode(block), decoder.decode(block)
        self.assertEqual(first, second)
        self.assertEqual(first is second, remembered)

    def test_theSameList(self) -> None:
        """The list is the same object from the second time on; indexed fields are always the table's own."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b")
        self.assertIs(decoder.decode(b"\xbe")[0], decoder.header_table.dynamic_entries[0])
        self.assert_remembered(decoder, b"\x82\xbe\x04\x01/")

    def test_aBlockThatChangesTheTable(self) -> None:
        """Each time it does so anew."""
        decoder = ours()
        for count in range(1, 5):
            self.assertEqual(decoder.decode(b"\x40\x01a\x01b"), [(b"a", b"b")])
            self.assertEqual(len(decoder.header_table.dynamic_entries), count)
        self.assert_remembered(decoder, b"\x20\x82", False)

    def test_changesOfTheTable(self) -> None:
        """The same block means other fields, or none, once the table has changed."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b")
        self.assert_remembered(decoder, b"\xbe")
        decoder.decode(b"\x40\x01c\x01d")
        self.assertEqual(decoder.decode(b"\xbe"), [(b"c", b"d")])
        self.assert_remembered(decoder, b"\xbe")
        decoder.decode(b"\x20\x3f\xe1\x1f")
        self.assertRaises(hpack.InvalidTableIndexError, decoder.decode, b"\xbe")

    def test_changesByAttribute(self) -> None:
        """The same if it is not the peer who changes the size."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b")
        self.assert_remembered(decoder, b"\xbe")
        decoder.header_table_size = 0
        self.assertRaises(hpack.InvalidTableIndexError, decoder.decode, b"\xbe")

    def test_changesByABlockThatFails(self) -> None:
        """What a broken block did to the table is done."""
        decoder = ours()
        decoder.decode(b"\x40\x01a\x01b")
        self.assert_remembered(decoder, b"\xbe")
        self.assertRaises(hpack.HPACKDecodingError, decoder.decode, b"\x40\x01c\x01d\x80")
        self.assertEqual(decoder.decode(b"\xbe"), [(b"c", b"d")])

    def test_connectionsDoNotShareFields(self) -> None:
        """What a block means on one says nothing about another."""
        first, second = ours(), ours()
        first.decode(b"\x40\x01a\x01b")
        second.decode(b"\x40\x01c\x01d")
        for _ in range(4):
            self.assertEqual(first.decode(b"\xbe"), [(b"a", b"b")])
            self.assertEqual(second.decode(b"\xbe"), [(b"c", b"d")])

    def test_whatIsLargeIsNotKept(self) -> None:
        """Neither long blocks nor those that become long heads."""
        decoder = ours()
        self.assert_remembered(decoder, b"\x82" * 90)
        self.assert_remembered(decoder, b"\x82" * 100, False)
        self.assert_remembered(decoder, b"\x04\x7f\xed\x06" + b"p" * 1004)
        self.assert_remembered(decoder, b"\x04\x7f\x89\x08" + b"p" * 1160, False)

    def test_fewAreKept(self) -> None:
        """What one connection makes us remember is bounded."""
        decoder = ours()
        self.assert_remembered(decoder, b"\x04\x01a")
        before = decoder.decode(b"\x04\x01a")
        for number in range(5000):
            decoder.decode(b"\x04\x05%05d" % number)
        self.assertIs(decoder.decode(b"\x04\x01a"), before)
        for number in range(32):
            self.assert_remembered(decoder, b"\x04\x02%02d" % number)
        self.assertIsNot(decoder.decode(b"\x04\x01a"), before)


class InsideH2Tests(SynchronousTestCase):
    """h2 works with it as with its own."""

    def test_requests(self) -> None:
        """Heads come out, and a table size takes effect when it is acknowledged."""
        client = H2Connection(H2Configuration(client_side=True))
        server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        server.decoder = decoder = ours()
        head = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a.example"),
            (b"x-a", b"v"),
        ]
        client.initiate_connection()
        server.initiate_connection()
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())
        for stream_id in (1, 3, 5, 7):
            client.send_headers(stream_id, head, end_stream=True)
            events = server.receive_data(client.data_to_send())
            self.assertEqual([event.headers for event in events if isinstance(event, RequestReceived)], [head])
        server.update_settings({SettingCodes.HEADER_TABLE_SIZE: 64})
        client.receive_data(server.data_to_send())
        self.assertEqual(decoder.max_allowed_table_size, 4096)
        server.receive_data(client.data_to_send())
        self.assertEqual(decoder.max_allowed_table_size, 64)
        client.send_headers(9, head, end_stream=True)
        server.receive_data(client.data_to_send())
        self.assertEqual(decoder.header_table_size, 64)
