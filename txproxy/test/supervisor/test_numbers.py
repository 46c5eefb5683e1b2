"""What a worker tells of its numbers."""

from __future__ import annotations

from txproxy.supervisor import numbers as numbers_module
from txproxy.supervisor.numbers import Numbers
from txproxy.test.talk import GET, OK, TalkCase


class NumbersTests(TalkCase):
    """What has changed is told."""

    def test_changes(self) -> None:
        """All numbers are told once, and then those that have changed, by route and backend too."""
        proxy = self.proxy()
        client, backend = self.busy(proxy)
        backend.says(OK)
        self.assertStatus(client, 200)
        proxy.assembled.ending.flush()
        numbers = Numbers()
        told = numbers.changed(proxy.assembled, is_all=True)
        self.assertEqual((told["route|status|all|200"], told["pool|created|app|10.0.0.1:80"]), (1, 1))
        self.assertEqual(numbers.changed(proxy.assembled, is_all=True), {})
        client.says(GET)
        backend.gets()
        backend.says(OK)
        proxy.assembled.ending.flush()
        told = numbers.changed(proxy.assembled) | numbers.changed(proxy.assembled)
        self.assertEqual((told["route|status|all|200"], told["pool|reused|app|10.0.0.1:80"]), (2, 1))
        self.assertNotIn("pool|created|app|10.0.0.1:80", told)

    def test_replaced(self) -> None:
        """What a reload has replaced by something that begins at 0 goes on from what was told."""
        proxy = self.proxy()
        _client, backend = self.busy(proxy)
        backend.says(OK)
        stats = proxy.assembled.clusters["app"].backends[0].pool.stats
        numbers = Numbers()
        told = []
        for stats.created in (5, 1, 3):
            told.append(numbers.changed(proxy.assembled, is_all=True)["pool|created|app|10.0.0.1:80"])
        self.assertEqual(told, [5, 6, 8])

    def test_serversThatAreGone(self) -> None:
        """Whom the DNS does not name any more is forgotten, though nobody asks for all numbers; nothing is told twice."""
        self.patch(numbers_module, "_MOST_TOLD", 3000)
        proxy = self.proxy()
        transitions = proxy.assembled.clusters["app"].transitions
        numbers = Numbers()
        for number in range(10_000):
            transitions.clear()
            transitions[f"10.1.{number}:80", "up"] = 1
            numbers.changed(proxy.assembled)
        self.assertLess(len(numbers._told), 6000)
        self.assertLess(len(numbers._ledger._last), 6000)
        self.assertEqual(numbers.changed(proxy.assembled), {})
