"""What a line of the log says of the difference between two configurations."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.changes import changes, left_for_a_restart
from txproxy.config.load import load_text
from txproxy.testing import site

MORE = """
[[route]]
name = "more"
path = "/more"
cluster = "app"
"""


class ChangesTests(SynchronousTestCase):
    """Each kind of thing by name, and sections by key."""

    def said(self, before: str, after: str) -> list[str]:
        return changes(load_text(before).config, load_text(after).config)

    def test_each(self) -> None:
        """What is added, removed and changed."""
        for before, after, expected in (
            ({}, {}, []),
            ({}, {"rest": MORE}, ["routes added: more"]),
            ({"rest": MORE}, {}, ["routes removed: more"]),
            ({}, {"listener": "max_fields = 5"}, ["listeners changed: web"]),
            ({}, {"route": 'hosts = ["a.example"]'}, ["routes changed: all"]),
            ({}, {"cluster": "panic = false"}, ["clusters changed: app"]),
            (
                {},
                {"backends": ["10.0.0.2:80"]},
                ["backends added: app 10.0.0.2:80", "backends removed: app 10.0.0.1:80"],
            ),
            (
                {},
                {"backends": ['{ address = "10.0.0.1:80", weight = 2 }']},
                ["backends changed: app 10.0.0.1:80"],
            ),
            ({}, {"rest": '[proxy]\nvia_name = "x"\nbacklog = 7\n'}, ["proxy changed: backlog, via_name"]),
            ({}, {"rest": '[log]\nlevel = "debug"'}, ["log changed: level"]),
        ):
            self.assertEqual(self.said(site(**before), site(**after)), expected, (before, after))

    def test_order(self) -> None:
        """The order of routes matters where nothing else decides."""
        one = '[[route]]\nname = "one"\ncluster = "app"\n'
        two = one.replace("one", "two")
        rest = site().replace('[[route]]\nname = "all"\ncluster = "app"\n', "{}")
        self.assertEqual(
            self.said(rest.replace("{}", one + two), rest.replace("{}", two + one)), ["routes are in another order"]
        )

    def test_many(self) -> None:
        """A line stays a line."""
        backends = [f"10.0.1.{number}:80" for number in range(30)]
        (said,) = self.said(site(), site(backends=["10.0.0.1:80", *backends]))
        self.assertTrue(said.endswith("app 10.0.1.9:80 and 20 more"), said)

    def test_leftForARestart(self) -> None:
        """What nobody can follow while it runs is named."""
        config = load_text(site()).config
        other = config.model_copy(update={"proxy": config.proxy.model_copy(update={"workers": 4, "group": "www"})})
        self.assertEqual(left_for_a_restart(config, other), ["proxy.workers", "proxy.group"])
        self.assertEqual(left_for_a_restart(config, config), [])
