"""Tests for :mod:`txproxy.config.effective`: defaults that depend on what else is configured."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.dump import dump
from txproxy.config.effective import effective, raw_clusters
from txproxy.config.load import load_data, load_text
from txproxy.config.model import Config
from txproxy.testing import site, tcp_site

HTTP = site(listener='tls = "both"').replace('"app"', '"web"').replace(".app]", ".web]").replace(":8080", ":8081")
SECTION = '[tls.{}]\ncertificates = [{{ chain = "c", key = "k" }}]\n{}\n'


def loaded(*parts: str) -> Config:
    """Return the configuration of some parts; what files hold does not matter."""
    return load_text("\n".join(parts), environ={}).config


class EffectiveTests(SynchronousTestCase):
    """What tcp listeners have for defaults."""

    def test_connections(self) -> None:
        """A tcp cluster may have as many connections as there may be clients; what is given holds, there and here."""
        proxy = "[proxy]\nmax_connections = 3000\n"
        self.assertEqual(loaded(tcp_site(), proxy).clusters["app"].pool.max_connections, 3000)
        self.assertEqual(loaded(tcp_site(cluster="pool.queue = 1"), proxy).clusters["app"].pool.queue, 1)
        given = loaded(tcp_site(cluster="pool.max_connections = 256"), proxy)
        self.assertEqual(given.clusters["app"].pool.max_connections, 256)
        self.assertEqual(loaded(site(), proxy).clusters["app"].pool.max_connections, 256)

    def test_checks(self) -> None:
        """A tcp cluster's checks are connections unless another kind is given; without a section there are none."""
        for given, expected in (("", "tcp"), ('type = "http"', "http"), ('type = "tls"', "tls")):
            health = loaded(tcp_site(), f"[cluster.app.health]\nfall = 4\n{given}").clusters["app"].health
            assert health is not None
            self.assertEqual((health.type, health.fall), (expected, 4))
        self.assertIsNone(loaded(tcp_site()).clusters["app"].health)
        http = loaded(site(), "[cluster.app.health]\n").clusters["app"].health
        self.assertEqual(http and http.type, "http")

    def test_protocols(self) -> None:
        """Sections of tcp listeners alone offer none, unless some are given."""
        for more, expected in (("", ()), ('alpn = ["h2"]', ("h2",))):
            config = loaded(tcp_site('tls = "raw"'), SECTION.format("raw", more))
            self.assertEqual(config.tls["raw"].alpn, expected)
        shared = HTTP.replace('"web"\naddress', '"second"\naddress')
        config = loaded(tcp_site('tls = "both"'), shared, SECTION.format("both", ""))
        self.assertEqual(config.tls["both"].alpn, ("h2", "http/1.1"))

    def test_theDumpMeansTheSame(self) -> None:
        """What is shown can be loaded again, and nothing has changed."""
        config = loaded(tcp_site('tls = "raw"'), SECTION.format("raw", ""), "[cluster.app.health]")
        self.assertEqual(loaded(dump(config)), config)

    def test_models(self) -> None:
        """They hold for configurations that were made in Python too, once."""
        data = loaded(tcp_site())
        self.assertEqual(load_data(data).config, data)
        self.assertEqual(effective(data), data)
        self.assertEqual(raw_clusters(data), {"app"})
        http = loaded(site())
        self.assertIs(effective(http), http)
