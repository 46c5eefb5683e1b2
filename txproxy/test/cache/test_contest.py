"""Which of several replies is the newer one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache import contest
from txproxy.cache.contest import Contest
from txproxy.cache.entry import PLAIN, Variant
from txproxy.test.cache.entries import entry_of, key_of

_EN, _DE = Variant((b"accept-language",), b"en"), Variant((b"accept-language",), b"de")
_GZIP = Variant((b"accept-encoding",), b"gzip")
_URL = b"http://a.example/"


class ContestTests(SynchronousTestCase):
    """Fetches that end in another order than they began; the oldest of them is still under way."""

    def contest(self, *shown: tuple[int, Variant | None]) -> list[bool]:
        """Return which replies are taken.

        :param shown: numbers of the fetches and what they bring, in the order in which they end; None is what may not
            be stored.
        """
        known, taken = Contest(), []
        for number, variant in shown:
            if variant is None:
                known.rule_out_older(number, key_of(_URL))
            else:
                taken.append(known.takes(number, entry_of(_URL, variant=variant), is_oldest=False))
        return taken

    def test_orders(self) -> None:
        """What is older takes the place of nothing newer; variants by the same fields do not contest each other."""
        for shown, taken in (
            ([(2, PLAIN), (1, PLAIN)], [True, False]),
            ([(1, PLAIN), (2, PLAIN)], [True, True]),
            ([(2, _EN), (1, _EN)], [True, False]),
            ([(2, _EN), (1, _DE)], [True, True]),
            ([(3, _EN), (1, _DE), (2, _DE)], [True, True, True]),
            ([(3, _EN), (2, _DE), (1, _DE)], [True, True, False]),
            ([(2, _EN), (1, PLAIN)], [True, False]),
            ([(2, PLAIN), (1, _EN)], [True, False]),
            ([(2, _EN), (1, _GZIP)], [True, False]),
            ([(1, _EN), (3, _GZIP), (2, _EN)], [True, True, False]),
            ([(1, _EN), (3, _GZIP), (4, _EN), (2, _DE)], [True, True, True, False]),
            ([(4, _EN), (2, _DE), (3, _GZIP)], [True, True, False]),
            ([(2, None), (1, PLAIN)], [False]),
            ([(2, None), (1, _EN), (3, _EN)], [False, True]),
            ([(3, None), (4, _EN), (2, _DE), (5, None), (4, _DE)], [True, False, False]),
            ([(3, None), (2, None), (2, PLAIN)], [False]),
            ([(2, PLAIN), (3, None), (2, PLAIN)], [True, False]),
        ):
            self.assertEqual(self.contest(*shown), taken, shown)

    def test_otherKeys(self) -> None:
        """What one route, or one user, is sent says nothing of what others are."""
        known = Contest()
        known.rule_out_older(2, key_of(_URL, b"1"))
        self.assertTrue(known.takes(3, entry_of(_URL, variant=_EN, added=b"2"), is_oldest=False))
        for added, taken in ((b"1", False), (b"2", False), (b"3", True)):
            self.assertIs(known.takes(1, entry_of(_URL, added=added), is_oldest=False), taken)

    def test_theOldest(self) -> None:
        """What nothing can contest is not remembered."""
        known = Contest()
        self.assertTrue(known.takes(1, entry_of(_URL), is_oldest=True))
        self.assertEqual(len(known), 0)

    def test_bound(self) -> None:
        """So much is known of keys, and of variants; nothing is stored that is older than what was forgotten."""
        self.patch(contest, "_MOST_CONTESTED", 3)
        of_keys = [(entry_of(_URL, added=b"%d" % number), True) for number in range(9)]
        of_variants = [(entry_of(_URL, variant=Variant((b"x",), b"%d" % number)), True) for number in range(9)]
        ruled_out = [(entry_of(_URL, added=b"%d" % number), False) for number in range(9)]
        for entries, most in ((of_keys, 6), (of_variants, 4), (ruled_out, 3)):
            known = Contest()
            for number, (entry, may_be_stored) in enumerate(entries, 2):
                if may_be_stored:
                    self.assertTrue(known.takes(number, entry, is_oldest=False))
                else:
                    known.rule_out_older(number, entry.key)
                self.assertLessEqual(len(known), most)
            for entry, _ in entries:
                self.assertFalse(known.takes(1, entry, is_oldest=False))
