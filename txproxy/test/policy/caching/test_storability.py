"""What speaks against storing a reply; most of it is in the table of cases."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.freshness import Freshness
from txproxy.policy.caching.storability import UNDERSTOOD, Verdict, judge
from txproxy.test.policy.caching.scenario import NOW, RULES, asked_by, reply_of, request_of, said_by


class JudgeTests(SynchronousTestCase):
    """``judge``"""

    def test_hisOwnClock(self) -> None:
        """Whether it is stale is asked for the moment in which it came."""
        reply = reply_of("Cache-Control: max-age=60")
        request = request_of()
        for age_s, verdict in ((59.0, Verdict(True, b"")), (60.0, Verdict(False, b"expired"))):
            freshness = Freshness(60.0, age_s, NOW)
            found = judge(request, asked_by(request.fields), reply, said_by(reply.fields), freshness, RULES)
            self.assertEqual(found, verdict)

    def test_credentials(self) -> None:
        """Of who is known by a certificate, the same is stored as of who is known by Authorization (3.5)."""
        plain, known = request_of(), request_of("Authorization: Basic Zm9v")
        for words in ("", ", public", ", must-revalidate", ", s-maxage=5", ", private", ", no-store"):
            reply = reply_of(f"Cache-Control: max-age=60{words}")
            said, freshness = said_by(reply.fields), Freshness(60.0, 0.0, NOW)
            asked = asked_by(plain.fields)
            by_field = judge(known, asked, reply, said, freshness, RULES)
            by_certificate = judge(plain, asked, reply, said, freshness, RULES, has_credentials=True)
            self.assertEqual(by_certificate, by_field, words)
            if not words:
                self.assertEqual(by_certificate, Verdict(False, b"authorization"))

    def test_understood(self) -> None:
        """The statuses of RFC 9110, but for those that stand for nothing of their own."""
        self.assertEqual(
            sorted(status for status in range(200, 600) if status in UNDERSTOOD),
            [200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308]
            + [*range(400, 418), 421, 422, 426, 500, 501, 502, 503, 504, 505],
        )
