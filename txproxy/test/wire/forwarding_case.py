"""What tests of forwarded requests have in common."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.judging import judge_request
from txproxy.test.wire.reading import HOP, forwarded, lines_of, request_with
from txproxy.wire.forwarding import Hop, RequestRules

OURS = [
    b"X-Forwarded-Host: a.example",
    b"X-Forwarded-For: 192.0.2.1",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Port: 8080",
    b"Via: 1.1 txproxy",
    b"X-Request-Id: id-1",
]
HOST = b"Host: a.example"

# Whatever is asked of the slow way must hold for the fast one too: rules that change nothing make the difference.
NO_SHORT_CUT = RequestRules(remove=frozenset((b"x-not-there",)))


class ForwardingCase(SynchronousTestCase):
    """A test that looks at the field lines that go upstream."""

    def sent(
        self, *lines: bytes, hop: Hop = HOP, host: bytes | None = None, rules: RequestRules | None = None, **how: bytes
    ) -> list[bytes]:
        """Return the field lines that go upstream, after checking that both ways of writing give the same."""
        request = request_with(*lines, **how)
        if rules is not None:
            head = forwarded(request, hop, host, rules)
        else:
            head = forwarded(request, hop, host)
            self.assertEqual(forwarded(request, hop, host, NO_SHORT_CUT), head)
            # A model may serve many requests: what was written once is written again.
            self.assertEqual(forwarded(request, hop, host), head)
        judge_request(head)
        return lines_of(head)

    def names(self, *lines: bytes, hop: Hop = HOP, rules: RequestRules | None = None, **how: bytes) -> list[bytes]:
        """Return the names that go upstream, in lower case."""
        return [line.partition(b":")[0].lower() for line in self.sent(*lines, hop=hop, rules=rules, **how)]
