"""A client stays at its backend (B6)."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from txproxy.exchange import Exchange
from txproxy.pipeline.sticky import Sticky
from txproxy.policy.balancing.catalogue import make_policy
from txproxy.policy.sticky import StickyPolicy
from txproxy.test.talk import OK, TalkCase, reply, request
from txproxy.test.wire.reading import reply_with, request_with
from txproxy.testing import Dialogue
from txproxy.testing.scripted import REFUSE

ADDRESSES = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")


class StickyTests(TalkCase):
    """The first reply sets a cookie, and the requests that bring it go to the same backend."""

    def sticky(self, answers: Any = OK, **parts: Any) -> Dialogue:
        dialogue = self.proxy(cluster='sticky = "at"\npool.max_idle = 0', backends=ADDRESSES, **parts)
        self.backends = [dialogue.script(address, answers) for address in ADDRESSES]
        self.client = dialogue.client()
        return dialogue

    def asks(self, dialogue: Dialogue, cookie: bytes = b"") -> tuple[str, list[bytes]]:
        """Return which backend serves a request, and the Set-Cookie fields of its reply."""
        fields = [b"Cookie: " + cookie] if cookie else []
        self.client.says(request(b"GET / HTTP/1.1", *fields))
        head = self.client.gets_head()
        self.client.gets()
        return dialogue.lines[-1]["backend"].split(",")[-1], head.all(b"Set-Cookie")

    def cookie(self, dialogue: Dialogue) -> tuple[str, bytes]:
        """Return which backend served a client that came without a cookie, and the cookie that it got."""
        backend, (field,) = self.asks(dialogue)
        return backend, field.partition(b";")[0]

    def test_theFirstReplySetsIt(self) -> None:
        """A name and a signature, for all paths, not for scripts, and not for other sites' requests."""
        _, (field,) = self.asks(self.sticky())
        self.assertTrue(re.fullmatch(rb"at=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", field), field)

    def test_overTls(self) -> None:
        """A client that came by https is told to keep the cookie to that."""
        exchange = Exchange(b"id", request_with(), SimpleNamespace(hop=SimpleNamespace(scheme=b"https")), 0.0)
        exchange.reply = reply_with()
        exchange.backend = SimpleNamespace(name="a")
        exchange.cluster = SimpleNamespace(sticky=StickyPolicy(make_policy("random"), "at", b"key", "app"))
        Sticky().on_reply(exchange)
        self.assertTrue(exchange.reply.fields[-1][1].endswith(b"; SameSite=Lax; Secure"))

    def test_followingRequestsStay(self) -> None:
        """At the same backend, and no cookie is set again."""
        dialogue = self.sticky()
        backend, cookie = self.cookie(dialogue)
        for _ in range(6):
            self.assertEqual(self.asks(dialogue, b"theme=dark; " + cookie), (backend, []))

    def test_clientsAreBalanced(self) -> None:
        """Those who come without a cookie are spread, also between requests of those who stay."""
        dialogue = self.sticky()
        _, cookie = self.cookie(dialogue)
        found = set()
        for _ in range(3):
            found.add(self.cookie(dialogue)[0])
            self.asks(dialogue, cookie)
        self.assertEqual(found, set(ADDRESSES))

    def test_theBackendIsDown(self) -> None:
        """The client is moved, gets another cookie, and stays where it is then."""
        dialogue = self.sticky()
        backend, cookie = self.cookie(dialogue)
        dialogue.roster.drain(backend)
        moved, (field,) = self.asks(dialogue, cookie)
        self.assertNotEqual(moved, backend)
        self.assertEqual(self.asks(dialogue, field.partition(b";")[0]), (moved, []))

    def test_theTryFails(self) -> None:
        """A retry at another backend sets that backend's cookie."""
        dialogue = self.sticky()
        backend, cookie = self.cookie(dialogue)
        self.backends[ADDRESSES.index(backend)].answers = [REFUSE]
        moved, fields = self.asks(dialogue, cookie)
        self.assertNotEqual(moved, backend)
        self.assertEqual(len(fields), 1)
        self.assertNotEqual(fields[0].partition(b";")[0], cookie)

    def test_aForgedCookie(self) -> None:
        """It is ignored and replaced."""
        dialogue = self.sticky()
        for forged in (b"at=10.0.0.3:80", b"at=" + b"0" * 32, b"at="):
            self.assertEqual(len(self.asks(dialogue, forged)[1]), 1)

    def test_theBackendsOwnCookies(self) -> None:
        """They stay as they are, each a field of its own, before ours."""
        dialogue = self.sticky(reply(b"ok", b"Set-Cookie: a=1", b"Set-Cookie: b=2"))
        _, fields = self.asks(dialogue)
        self.assertEqual(fields[:2], [b"a=1", b"b=2"])
        self.assertEqual(len(fields), 3)

    def test_repliesThatAreRecalled(self) -> None:
        """The same reply again and again: each client gets its own cookie, and who has one gets none."""
        dialogue = self.sticky()
        for _ in range(4):
            backend, cookie = self.cookie(dialogue)
            self.assertEqual(self.asks(dialogue, cookie), (backend, []))

    def test_otherClusters(self) -> None:
        """A cluster without the key sets none, also on a route whose function may choose a sticky one."""
        text = """
[[listener]]
name = "web"
address = "127.0.0.1:8080"
[[route]]
name = "chosen"
choose = "json:loads"
[cluster.plain]
backends = [{ address = "10.0.0.1:80" }]
[cluster.kept]
sticky = "at"
backends = [{ address = "10.0.0.2:80" }]
"""
        dialogue = Dialogue.of(self, text, {"json:loads": lambda facts: facts.headers["x-cluster"]})
        for address in ADDRESSES[:2]:
            dialogue.script(address, OK)
        client = dialogue.client()
        for name, expected in ((b"plain", 0), (b"kept", 1), (b"plain", 0)):
            client.says(request(b"GET / HTTP/1.1", b"X-Cluster: " + name))
            self.assertEqual(len(client.gets_head().all(b"Set-Cookie")), expected)
            client.gets()
