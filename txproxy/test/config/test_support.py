"""Tests for :mod:`txproxy.config.support`: keys that nothing serves yet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.problems import format_path
from txproxy.config.support import NOT_YET, check_support
from txproxy.config.validate import section_at
from txproxy.test.config.helpers import MINIMAL, errors_of
from txproxy.test.config.test_model import EXAMPLE

REFUSED_OF_EXAMPLE = """\
21: admin"""


class SupportTests(SynchronousTestCase):
    """What is refused, and what is not."""

    def test_theExampleIsRefusedForNothingElse(self) -> None:
        """The file with every key has no problem but the keys that are not served yet, each with its line."""
        errors = errors_of(EXAMPLE)
        self.assertEqual([error for error in errors if "is not supported yet" not in error], [])
        self.assertEqual(
            [": ".join(error.removeprefix("f:").split(": ")[:2]) for error in errors], REFUSED_OF_EXAMPLE.split("\n")
        )

    def test_everyLineOfTheTableNamesAKeyOfTheModel(self) -> None:
        """A pattern that matches no key would refuse nothing."""
        for row in NOT_YET:
            parts = row.pattern.replace("[*]", ".0").replace("*", "name").split(".")
            path = tuple(int(part) if part == "0" else part for part in parts)
            section = section_at(path[:-1])
            if path[-1] == 0:  # An element of an array of values: the array is the key.
                path, section = path[:-1], section_at(path[:-2])
            is_element = path[-1] == "name"
            keys = {field.alias or name for name, field in section.model_fields.items()} if section else set()
            self.assertTrue(is_element or path[-1] in keys, row.pattern)

    def test_theValueThatMeansOffIsAccepted(self) -> None:
        """A key may be written with its default if that means "off"."""
        text = MINIMAL + (
            'protocol = "http1"\nsend_proxy_protocol = ""\n'
            "tls = { enabled = false, server_name = '', ca = '' }\n[proxy]\nworkers = 1\nuser = ''\n[stage]\n[tls]\n"
        )
        self.assertEqual(errors_of(text), [])
        inside = 'protocol = "http"\ntls = ""\nsni_clusters = {}\nredirect_https = false\n\n[[route]]\n'
        inside += "upgrades = []\ncache = false\n"
        self.assertEqual(errors_of(MINIMAL.replace("\n[[route]]\n", inside)), [])

    def test_theMessageNamesKeyAndValue(self) -> None:
        """The message says which key with which value, and what can be written instead."""
        for raw, expected in (
            (
                {"proxy": {"workers": 0}},
                "proxy.workers: workers = 0 is not supported yet (allowed: 1)",
            ),
            ({"admin": {}}, "admin: [admin] is not supported yet"),
            ({"stage": {"limit": {}}}, "stage.limit: [stage.limit] is not supported yet"),
            ({"proxy": {"user": "www"}}, 'proxy.user: user = "www" is not supported yet'),
            (
                {"listener": [{}, {"address": "systemd:a"}]},
                'listener[1].address: address = "systemd:a" is not supported yet '
                "(allowed: HOST:PORT, [IPV6]:PORT, unix:/PATH)",
            ),
        ):
            found = [f"{format_path(finding.path)}: {finding.message}" for finding in check_support(raw)]
            self.assertEqual(found, [expected])

    def test_valuesThatAreNotValidAreLeftToTheModel(self) -> None:
        """A word that is no balancing policy at all is an error of its own, with the nearest one."""
        text = MINIMAL + 'balance = "round_robbin"\nprotocol = "h3"\n'
        self.assertEqual(
            errors_of(text),
            [
                'f:11: cluster.api.balance: "round_robbin" is not a balancing policy (allowed: round_robin, '
                "weighted_round_robin, least_connections, ip_hash, random, p2c, ewma, ring_hash, MODULE:FUNCTION; "
                "did you mean 'round_robin'?)",
                'f:12: cluster.api.protocol: "h3" is none of the words (allowed: http1, h2)',
            ],
        )

    def test_whatIsRefusedHasNoOtherProblem(self) -> None:
        """A mistake inside of a section that is refused is not worth a line."""
        text = MINIMAL + "[admin]\nlissten = 'x'\n[stage.x]\nmax_bytes = 'x'\n"
        self.assertEqual(
            errors_of(text),
            ["f:11: admin: [admin] is not supported yet", "f:13: stage.x: [stage.x] is not supported yet"],
        )

    def test_rawTablesOfAnyTypePass(self) -> None:
        """Wrong types are not the business of this table."""
        for raw in ({"listener": 3, "cluster": [], "proxy": "x", "tls": 1}, {"listener": [1], "cluster": {"a": 2}}):
            self.assertEqual(check_support(raw), [])
