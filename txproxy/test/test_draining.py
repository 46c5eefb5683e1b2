"""What is to come to an end in time, on connections that stay: streams of HTTP/2 that are tunnels."""

from __future__ import annotations

from txproxy.draining import Farewells
from txproxy.test.downstream.test_http2_tunnels import TunnelCase
from txproxy.test.talk import OK

PATIENCE_S = 20


class FarewellTests(TunnelCase):
    """Tunnels whose way is gone; how it is found out is shown in ``test_reload``."""

    def test_aStream(self) -> None:
        """It ends with 1001 when its time is over; its connection and the other streams go on."""
        dialogue = self.proxy()
        farewells = Farewells(dialogue.reactor.seconds)
        client = self.h2(dialogue)
        stream, backend = self.tunnel(dialogue, client)
        other = client.asks(b"GET")
        far = dialogue.backend()
        (connection,) = dialogue.assembled.sites["web"].connections
        leaving = list(connection.exchanges())
        self.assertEqual(len(leaving), 2)
        farewells.say(leaving, dialogue.assembled.deadlines, PATIENCE_S)
        dialogue.advance(PATIENCE_S - 1)
        backend.says(b"\x81\x02hi")
        self.assertEqual(stream.gets(), b"\x81\x02hi")
        dialogue.advance_past(2)
        self.assertEqual(stream.gets(), b"\x88\x02\x03\xe9")
        self.assertTrue(stream.has_ended)
        self.assertEqual(self.ends(dialogue), [(200, "shutdown")])
        far.says(OK)
        self.assertEqual(other.gets_head().line, b"HTTP/2 200")
        self.assertEqual(len(farewells), 0)

    def test_itEndsBefore(self) -> None:
        """What ends by itself is forgotten; nothing is left in the wheel for it."""
        dialogue = self.proxy()
        farewells = Farewells(dialogue.reactor.seconds)
        stream, _ = self.tunnel(dialogue)
        (connection,) = dialogue.assembled.sites["web"].connections
        farewells.say(connection.exchanges(), dialogue.assembled.deadlines, PATIENCE_S)
        stream.resets()
        farewells.say([], dialogue.assembled.deadlines, PATIENCE_S)
        self.assertEqual(len(farewells), 0)
        dialogue.advance_past(PATIENCE_S)
