"""Reading and writing records without a detour does what pyOpenSSL's own methods do."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, _util
from twisted.trial.unittest import SynchronousTestCase

from txproxy.net import tls_calls
from txproxy.net.tls_calls import READ_BYTES, RECORD_BYTES, best_calls, direct_calls, public_calls
from txproxy.test.net.tls_fakes import Wire


class CallsMixin:
    """What both makings promise."""

    calls: Any

    def setUp(self) -> None:
        self.wire = Wire().shake_hands()

    def read(self) -> tuple[bytes, Any]:
        data, trouble = self.calls.read(self.wire.ssl)
        return data, type(trouble) if trouble is not None else None

    def came(self, *contents: bytes) -> None:
        """The client has sent these as one record each."""
        for each in contents:
            self.wire.client.send(each)
        self.wire.deliver()

    def test_readsARecord(self: Any) -> None:
        """A record that is not full is all that is read at once."""
        self.came(b"one", b"two")
        self.assertEqual([self.read() for _ in range(3)], [(b"one", None), (b"two", None), (b"", None)])

    def test_readsOnAfterFullRecords(self: Any) -> None:
        """Full records are read together, up to a limit, and nothing decrypted stays behind."""
        full = [bytes([number]) * RECORD_BYTES for number in range(6)]
        self.came(*full, b"end")
        self.assertEqual(self.read(), (b"".join(full[:4]), None))
        self.assertEqual(self.wire.ssl.pending(), 0)
        self.assertEqual(self.read(), (b"".join(full[4:]) + b"end", None))
        self.assertEqual(READ_BYTES, 4 * RECORD_BYTES)

    def test_fullRecordAndNothingElse(self: Any) -> None:
        """After a full record there may be nothing, or half a record."""
        self.came(b"x" * RECORD_BYTES)
        self.assertEqual(self.read(), (b"x" * RECORD_BYTES, None))

    def test_endsComeBehindContent(self: Any) -> None:
        """A close alert or an end behind full records is returned with them."""
        self.came(b"x" * RECORD_BYTES)
        self.wire.client.shutdown()
        self.wire.deliver()
        self.assertEqual(self.read(), (b"x" * RECORD_BYTES, SSL.ZeroReturnError))
        self.assertEqual(self.read(), (b"", SSL.ZeroReturnError))

    def test_endsWithoutAlert(self: Any) -> None:
        """An end without a close alert is an error of the system."""
        self.wire.ssl.bio_shutdown()
        data, trouble = self.calls.read(self.wire.ssl)
        self.assertEqual((data, type(trouble), trouble.args), (b"", SSL.SysCallError, (-1, "Unexpected EOF")))

    def test_forgedRecords(self: Any) -> None:
        """What was tampered with is an error, which leaves nothing to the next connection."""
        self.wire.client.send(b"x")
        forged = bytearray(self.wire.client.bio_read(1000))
        forged[-1] ^= 1
        self.wire.ssl.bio_write(bytes(forged))
        self.assertEqual(self.read(), (b"", SSL.Error))
        self.assertEqual(_util.lib.ERR_peek_error(), 0)

    def test_errorsHoldNoFrames(self: Any) -> None:
        """An error that is kept keeps nothing alive."""
        self.wire.client.shutdown()
        self.wire.deliver()
        self.assertIs(self.calls.read(self.wire.ssl)[1].__traceback__, None)

    def test_writesARecord(self: Any) -> None:
        """One record is taken by each call, of bytes or of a view."""
        body = b"abc" * RECORD_BYTES
        self.assertEqual(self.calls.write(self.wire.ssl, b"x"), 1)
        self.assertEqual(self.calls.write(self.wire.ssl, body), RECORD_BYTES)
        self.assertEqual(self.calls.write(self.wire.ssl, memoryview(body)[7:1007]), 1000)
        self.assertEqual(self.calls.write(self.wire.ssl, memoryview(body)[7:]), RECORD_BYTES)
        expected = b"x" + body[:RECORD_BYTES] + body[7:1007] + body[7 : 7 + RECORD_BYTES]
        self.assertEqual(self.wire.heard(), expected)

    def test_writesThatFail(self: Any) -> None:
        """After our close alert nothing can be written; the error leaves nothing to the next connection."""
        self.wire.ssl.shutdown()
        self.assertRaises(SSL.Error, self.calls.write, self.wire.ssl, b"x")
        self.assertEqual(_util.lib.ERR_peek_error(), 0)

    def test_writesBeforeTheHandshake(self: Any) -> None:
        """They say what they wait for."""
        self.assertRaises(SSL.WantReadError, self.calls.write, Wire().ssl, b"x")


class PublicCallsTests(CallsMixin, SynchronousTestCase):
    """The promises hold for what pyOpenSSL offers, so they describe it."""

    calls = public_calls()


class TurnTests(SynchronousTestCase):
    """A record without content is a turn of its own, so that endless ones hold nobody up."""

    def test_turns(self) -> None:
        """The two session tickets that a server sends take a turn each; what stands behind them comes then."""
        for takes_turns, turns in ((True, [b"", b"", b"hello"]), (False, [b"hello"])):
            wire = Wire().shake_hands()
            if takes_turns:
                tls_calls.take_turns(wire.client)
            wire.ssl.send(b"hello")
            wire.collect()
            self.assertEqual([tls_calls.read(wire.client)[0] for _ in turns], turns)


class DirectCallsTests(CallsMixin, SynchronousTestCase):
    """The promises hold without the detour as well."""

    calls = direct_calls()

    def test_readsWithinReads(self) -> None:
        """Memory that is in use is not used by another read, and is used again after it."""
        self.came(b"one")
        other = Wire().shake_hands()
        other.client.send(b"two")
        other.deliver()
        self.assertEqual((self.read(), self.calls.read(other.ssl)), ((b"one", None), (b"two", None)))


class FallbackTests(SynchronousTestCase):
    """Names that pyOpenSSL does not promise are used if they are there."""

    def test_theNamesAreThere(self) -> None:
        """With the version that is installed nothing is lost: a new one that lacks them makes this fail."""
        self.assertNotEqual(tls_calls.read.__qualname__, public_calls().read.__qualname__)

    def test_withoutThem(self) -> None:
        """Without one of them the public methods serve."""
        for holder, name in ((_util, "ffi"), (_util, "lib"), (SSL.Connection, "_raise_ssl_error")):
            value = getattr(holder, name)
            delattr(holder, name)
            try:
                self.assertEqual(best_calls().read.__qualname__, public_calls().read.__qualname__)
            finally:
                setattr(holder, name, value)
