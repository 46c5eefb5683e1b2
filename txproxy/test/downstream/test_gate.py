"""How many clients may be connected."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase


class GateTests(TalkCase):
    """max_connections of the whole process, max_connections_per_ip of a listener."""

    def test_acceptingPauses(self) -> None:
        """At max_connections the ports pause; existing connections are served; when one ends they go on (Q8)."""
        dialogue = self.proxy(rest="[proxy]\nmax_connections = 2")
        backend = dialogue.script("10.0.0.1:80", OK)
        first = dialogue.client()
        self.assertTrue(dialogue.port.is_accepting)
        second = dialogue.client()
        self.assertFalse(dialogue.port.is_accepting)
        first.says(GET)
        self.assertStatus(first, 200)
        second.finishes()
        self.assertTrue(dialogue.port.is_accepting)
        self.assertEqual(dialogue.assembled.counters.accept_pauses, 1)
        self.assertEqual(len(backend.requests), 1)

    def test_eachPauseIsCounted(self) -> None:
        """Each time it happens it is counted, not each connection."""
        dialogue = self.proxy(rest="[proxy]\nmax_connections = 1")
        for _ in range(3):
            client = dialogue.client()
            extra = dialogue.client()  # It was accepted in the same turn.
            extra.resets()
            self.assertFalse(dialogue.port.is_accepting)
            client.resets()
            self.assertTrue(dialogue.port.is_accepting)
        self.assertEqual(dialogue.assembled.counters.accept_pauses, 3)

    def test_countsAreRight(self) -> None:
        """Connections are counted until they are gone, whatever ends them."""
        dialogue = self.proxy()
        clients = [dialogue.client() for _ in range(4)]
        clients[0].says(b"BAD\r\n\r\n")
        clients[1].finishes()
        clients[2].resets()
        self.assertEqual(dialogue.assembled.gate.connections, 2)
        dialogue.advance_past(80)
        self.assertEqual(dialogue.assembled.gate.connections, 0)
        self.assertEqual(dialogue.assembled.counters.connections, 4)

    def test_perAddress(self) -> None:
        """More connections from one address than allowed are closed at once; others are not concerned."""
        dialogue = self.proxy(listener="max_connections_per_ip = 2")
        first = dialogue.client("192.0.2.1")
        dialogue.client("192.0.2.1")
        self.assertRaises(AssertionError, dialogue.client, "192.0.2.1")
        dialogue.client("192.0.2.2")
        self.assertEqual(dialogue.assembled.counters.refused_per_ip, 1)
        first.finishes()
        self.assertTrue(dialogue.client("192.0.2.1").is_open)

    def test_perAddressOfAZone(self) -> None:
        """Link-local IPv6 addresses, which have a zone, are limited too."""
        dialogue = self.proxy(listener="max_connections_per_ip = 1")
        dialogue.client("[fe80::1%eth0]")
        self.assertRaises(AssertionError, dialogue.client, "[fe80::1%eth0]")

    def test_perAddressOfUnixSockets(self) -> None:
        """Clients of a unix socket count as one address."""
        dialogue = self.proxy(listener="max_connections_per_ip = 1")
        dialogue.client("unix")
        self.assertRaises(AssertionError, dialogue.client, "unix")
