"""The dashboard is one page that needs nothing else, and its policy lets through nothing but what is in it."""

from __future__ import annotations

import base64
import hashlib
import re

from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.page import load_page
from txproxy.observe.histogram import BOUNDS_S


class PageTests(SynchronousTestCase):
    """See the module."""

    def setUp(self) -> None:
        self.page = load_page()
        self.text = self.page.body.decode()

    def test_partsAreInIt(self) -> None:
        """Style and scripts are in the page; nothing is loaded from anywhere."""
        self.assertEqual(len(re.findall("<style>", self.text)), 1)
        self.assertEqual(len(re.findall("<script>", self.text)), 7)
        self.assertNotIn('<link rel="stylesheet"', self.text)
        self.assertEqual(re.findall(r'\s(?:src|action)="([^"]*)"', self.text), [])
        for address in re.findall(r'\shref="([^"]*)"', self.text):
            self.assertRegex(address, "^(#|data:)")
        self.assertNotRegex(self.text, r"url\(|@import|\bimport\(")

    def test_policyHasItsHashes(self) -> None:
        """A browser runs exactly the scripts and applies exactly the style that the page has."""
        for tag in ("script", "style"):
            contents = re.findall(f"<{tag}>(.*?)</{tag}>", self.text, re.DOTALL)
            digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in contents]
            expected = f"{tag}-src " + " ".join(f"'sha256-{digest}'" for digest in digests)
            self.assertIn(expected, self.page.policy.split("; "))
        self.assertTrue(self.page.policy.startswith("default-src 'none'; "))
        self.assertNotIn("unsafe", self.page.policy)

    def test_nothingThatThePolicyForbids(self) -> None:
        """There is no handler and no style in an attribute: browsers would ignore them."""
        self.assertEqual(re.findall(r'<[a-z][^>]*\s(?:on[a-z]+|style)="', self.text), [])

    def test_textIsNeverMarkup(self) -> None:
        """The scripts have no way to make markup of a text."""
        self.assertNotRegex(self.text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(")

    def test_bucketsAreThoseOfHistograms(self) -> None:
        """The scripts know the bounds of the buckets that reports count in."""
        (bounds,) = re.findall(r"const BOUNDS_S = \[(.*?)\];", self.text, re.DOTALL)
        self.assertEqual(tuple(map(float, bounds.split(","))), BOUNDS_S)
