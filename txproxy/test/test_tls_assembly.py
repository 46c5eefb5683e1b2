"""What a section of TLS becomes."""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.internet.testing import MemoryReactorClock

from txproxy.assembly import Clocks
from txproxy.config.problems import ConfigError
from txproxy.downstream.handshake import Handshake
from txproxy.test.authority import Authority
from txproxy.test.talk import TalkCase
from txproxy.test.tls.memory import Pipe
from txproxy.test.tls.pair_files import PairFiles
from txproxy.testing import Dialogue, tcp_site
from txproxy.tls_assembly import SharedTls, expiry_lines, make_sections

AUTHORITY = Authority()


class SectionTests(TalkCase):
    """From the configuration to handshakes."""

    def setUp(self) -> None:
        """Write two certificates."""
        self.files = PairFiles(self)
        self.pairs = [
            self.files.pair(AUTHORITY.identity(f"{stem}.test", begins_in_days=-4000), stem).model_dump(
                include={"chain", "key"}
            )
            for stem in ("a", "b")
        ]

    def serve(self, section: str = "", pairs: Any = None) -> Dialogue:
        """Return a proxy with an https listener."""
        tables = ", ".join(f'{{ chain = "{pair["chain"]}", key = "{pair["key"]}" }}' for pair in pairs or self.pairs)
        return self.proxy(listener='tls = "main"', rest=f"[tls.main]\ncertificates = [{tables}]\n{section}")

    def agreed(self, dialogue: Dialogue, *offered: bytes) -> tuple[str, bytes]:
        """Return version and protocol of a handshake."""
        context = dialogue.assembled.tls["main"].tls.getContext()
        pipe = Pipe(context, name=b"b.test", alpn=offered).shake_hands()
        self.assertTrue(pipe.is_complete, (pipe.client_error, pipe.server_error))
        return pipe.client.get_protocol_version_name(), pipe.client.get_alpn_proto_negotiated()

    def test_served(self) -> None:
        """Connections of the listener begin with a handshake; the start says until when the certificates hold."""
        dialogue = self.serve()
        self.assertIsInstance(dialogue.client().transport.protocol, Handshake)
        self.assertEqual(self.agreed(dialogue), ("TLSv1.3", b""))
        lines = list(expiry_lines(dialogue.assembled.tls))
        self.assertEqual([line.split(" (")[0] for line in lines], ["certificate of a.test", "certificate of b.test"])
        for client in list(dialogue.assembled.sites["web"].connections):
            client.transport.abortConnection()
        dialogue.settle()

    def test_protocols(self) -> None:
        """HTTP/2 is preferred; HTTP/1.0 alone is agreed to where HTTP/1.1 is; behaviour H1."""
        dialogue = self.serve()
        for offered, agreed in (
            ([b"http/1.1", b"h2"], b"h2"),
            ([b"http/1.1"], b"http/1.1"),
            ([b"http/1.0"], b"http/1.0"),
            ([], b""),
        ):
            self.assertEqual(self.agreed(dialogue, *offered)[1], agreed)

    def test_protocolsOfTheSection(self) -> None:
        """What the section names is agreed on, in its order and no more; a client with nothing in common is refused."""
        for alpn, offered, agreed in (
            ('["http/1.1", "h2"]', [b"h2", b"http/1.1"], b"http/1.1"),
            ('["h2"]', [b"http/1.1", b"h2"], b"h2"),
            ('["http/1.1"]', [b"h2", b"http/1.1"], b"http/1.1"),
            ("[]", [b"h2", b"http/1.1"], b""),
        ):
            self.assertEqual(self.agreed(self.serve(f"alpn = {alpn}"), *offered)[1], agreed)
        for alpn, other in (('["h2"]', b"http/1.1"), ('["http/1.1"]', b"h2"), ('["h2", "http/1.1"]', b"imap")):
            context = self.serve(f"alpn = {alpn}").assembled.tls["main"].tls.getContext()
            pipe = Pipe(context, name=b"b.test", alpn=[other]).shake_hands()
            self.assertFalse(pipe.is_complete)

    def test_protocolsOfTcpListeners(self) -> None:
        """What we speak ourselves is not offered for servers that may not, unless the section says so."""
        offered = [b"h2", b"http/1.1"]
        for section, agreed in (("", b""), ('alpn = ["h2"]', b"h2"), ("alpn = []", b"")):
            tables = ", ".join(f'{{ chain = "{pair["chain"]}", key = "{pair["key"]}" }}' for pair in self.pairs)
            section = f"[tls.main]\ncertificates = [{tables}]\n{section}"
            dialogue = Dialogue.of(self, tcp_site('tls = "main"', rest=section))
            context = dialogue.assembled.tls["main"].tls.getContext()
            pipe = Pipe(context, name=b"b.test", alpn=offered).shake_hands()
            self.assertTrue(pipe.is_complete, (pipe.client_error, pipe.server_error))
            self.assertEqual(pipe.client.get_alpn_proto_negotiated(), agreed)
            client = dialogue.client()
            self.assertIsInstance(client.transport.protocol, Handshake)
            client.resets()

    def test_keys(self) -> None:
        """What the section says is what is spoken."""
        self.assertEqual(self.agreed(self.serve('max_version = "1.2"'))[0], "TLSv1.2")
        tls = self.serve('strict_sni = true\nclient_auth = "none"\ntickets = false').assembled.tls["main"].tls
        self.assertTrue(tls.settings.strict_sni)
        self.assertFalse(tls.settings.profile.tickets)
        self.assertTrue(tls.settings.has_choice)
        self.assertFalse(self.serve(pairs=self.pairs[:1]).assembled.tls["main"].tls.settings.has_choice)

    def test_nothingUsable(self) -> None:
        """A section without any certificate that can be used stops the start, with its reason."""
        self.files.write("a.key", b"x")
        error = self.assertRaises(ConfigError, self.serve, pairs=self.pairs[:1])
        self.assertIn("tls.main.certificates: none of them can be used", str(error))

    def test_usedAgain(self) -> None:
        """A section with the same settings is the same one; of one from before a fork the contexts are."""
        before = self.serve().assembled
        reactor, clocks, counts = MemoryReactorClock(), Clocks(), before.counters.tls
        again = make_sections(before.config, reactor, clocks, counts, before.tls)
        self.assertIs(again["main"], before.tls["main"])
        section = before.tls["main"]
        shared = {"main": SharedTls(section.settings, section.tls)}
        forked = make_sections(before.config, reactor, clocks, counts, shared)["main"]
        self.assertIs(forked.tls, section.tls)
        self.assertIsNot(forked.keeper, section.keeper)
        # With what was read before the fork nothing is read again: the files may be gone.
        os.unlink(section.settings.certificates[0].key)
        shared = {"main": SharedTls(section.settings, section.tls, forked.keeper)}
        moved = make_sections(before.config, reactor, clocks, counts, shared)["main"]
        self.assertEqual((moved.tls, moved.keeper.pairs), (section.tls, forked.keeper.pairs))
        moved.start()
        self.assertEqual(len(reactor.getDelayedCalls()), 2)
        moved.stop()
        other = self.serve("ticket_lifetime_s = 77").assembled.config
        changed = make_sections(other, reactor, clocks, counts, {**before.tls})["main"]
        self.assertIsNot(changed.tls, section.tls)
        unknown = make_sections(other, reactor, clocks, counts, shared)["main"]
        self.assertIsNot(unknown.tls, section.tls)

    def test_refusedByOpenSsl(self) -> None:
        """What only OpenSSL finds out is a line too, not a traceback."""
        self.patch(SSL.Context, "set_tls13_ciphersuites", _refuse)
        error = self.assertRaises(ConfigError, self.serve)
        self.assertIn("tls.main: OpenSSL refuses it", str(error))


def _refuse(_context: SSL.Context, _ciphers: bytes) -> None:
    raise SSL.Error([("SSL routines", "", "no cipher match")])
