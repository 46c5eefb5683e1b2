"""Tests for :mod:`txproxy.config.model`: the schema against the file that shows it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config import model
from txproxy.config.model import Backend, Cluster, Config, HeaderRules, Pool, Route

EXAMPLE = files("txproxy.test.config").joinpath("example.toml").read_text("utf-8")

SHOWN_EXAMPLES = {
    ("listener", "name"),
    ("listener", "address"),
    ("listener", "tls"),
    ("listener", "protocol"),
    ("listener", "cluster"),
    ("tls", "certificates"),
    ("route", "name"),
    ("route", "listeners"),
    ("route", "hosts"),
    ("route", "path"),
    ("route", "methods"),
    ("route", "cluster"),
    ("route", "cache"),
    ("cluster", "backends"),
}
"""Keys for which the file shows an example where there is no default, or one that differs from it."""


def sections(config: Config) -> list[tuple[str, BaseModel, Mapping[str, Any]]]:
    """Return the first section of each kind, with its name and its table in the file."""
    raw = tomllib.loads(EXAMPLE)
    cluster, cluster_raw = config.clusters["api"], raw["cluster"]["api"]
    found: list[tuple[str, BaseModel | None, Mapping[str, Any]]] = [
        ("proxy", config.proxy, raw["proxy"]),
        ("log", config.log, raw["log"]),
        ("admin", config.admin, raw["admin"]),
        ("listener", config.listeners[0], raw["listener"][0]),
        ("tls", config.tls["main"], raw["tls"]["main"]),
        ("route", config.routes[0], raw["route"][0]),
        ("cluster", cluster, {key: value for key, value in cluster_raw.items() if not isinstance(value, dict)}),
        ("cluster.tls", cluster.tls, cluster_raw["tls"]),
        ("health", cluster.health, cluster_raw["health"]),
        ("passive", cluster.passive, cluster_raw["passive"]),
        ("breaker", cluster.breaker, cluster_raw["breaker"]),
        ("pool", cluster.pool, cluster_raw["pool"]),
        ("retry", cluster.retry, cluster_raw["retry"]),
        ("timeouts", cluster.timeouts, cluster_raw["timeouts"]),
        ("cache", config.cache, raw["cache"]),
    ]
    return [(name, section, table) for name, section, table in found if section is not None]


class ExampleTests(SynchronousTestCase):
    """The file that shows every key with its default."""

    def setUp(self) -> None:
        """Read it."""
        self.config = Config.model_validate(tomllib.loads(EXAMPLE), by_alias=True, by_name=False)

    def test_everySectionIsThere(self) -> None:
        """All kinds of sections are in the file."""
        self.assertEqual(len(sections(self.config)), 15)
        self.assertEqual([listener.name for listener in self.config.listeners], ["web", "secure", "db"])
        self.assertEqual(list(self.config.clusters), ["api", "site", "db", "partner"])

    def test_everyShownDefaultIsTheModelsDefault(self) -> None:
        """A key that shows its default has that default in the model."""
        for name, section, table in sections(self.config):
            for key in table:
                if (name, key) not in SHOWN_EXAMPLES:
                    default = type(section).model_fields[key].get_default(call_default_factory=True)
                    self.assertEqual(getattr(section, key), default, f"{name}.{key}")

    def test_everyKeyOfTheModelIsShown(self) -> None:
        """The model has no key that the file does not show."""
        for name, section, table in sections(self.config):
            subsections = {"health", "passive", "breaker", "pool", "retry", "timeouts", "tls"}
            expected = set(type(section).model_fields) - (subsections if name == "cluster" else set())
            self.assertEqual(set(table), expected, name)

    def test_examplesAreRead(self) -> None:
        """Values that are no defaults arrive."""
        route = self.config.routes[0]
        self.assertEqual(route.hosts, ("api.example.com", "*.api.example.com"))
        self.assertEqual((route.path, route.methods, route.cluster), ("/v1/", ("GET", "POST"), "api"))
        self.assertEqual(
            self.config.clusters["api"].backends,
            (
                Backend(address="10.0.0.11:8080", weight=3, max_connections=256),
                Backend(address="10.0.0.12:8080"),
                Backend(address="10.0.0.13:8080", backup=True),
            ),
        )
        self.assertEqual(self.config.tls["main"].certificates[1].ocsp, "")
        self.assertIs(self.config.routes[1].cache, True)
        self.assertTrue(self.config.clusters["partner"].tls.enabled)


class SectionTests(SynchronousTestCase):
    """What is common to all sections."""

    def test_everyFieldIsDescribed(self) -> None:
        """Each key has a description that ends as a sentence, and keys of seconds say so."""
        for name in model.__all__:
            section = getattr(model, name)
            self.assertTrue(section.__doc__, name)
            for key, field in section.model_fields.items():
                self.assertTrue(field.description and field.description.endswith("."), f"{name}.{key}")
                for unit, word in (("_s", "econds"), ("_ms", "illiseconds"), ("_bytes", "ytes")):
                    if key.endswith(unit) and not key.endswith("_per_s"):
                        self.assertIn(word, field.description, f"{name}.{key}")

    def test_sectionsCannotBeChanged(self) -> None:
        """A section is frozen."""
        pool = Pool()
        with self.assertRaises(ValidationError):
            setattr(pool, "queue", 3)  # noqa: B010 - a type checker would refuse the assignment

    def test_pythonMayUseFieldNames(self) -> None:
        """A site file may write ``routes``, where TOML has ``route``, and lists for tuples."""
        route = Route(name="a", cluster="c")
        self.assertEqual(Config.model_validate({"routes": [route]}), Config.model_validate({"route": [route]}))

    def test_aBackendHasItsOwnLimitOrThePools(self) -> None:
        """``max_connections`` of a backend overrides that of the pool."""
        own, pooled = Backend(address="a:1", max_connections=300), Backend(address="b:1")
        cluster = Cluster(backends=(own, pooled), pool=Pool(max_connections=3))
        self.assertEqual([cluster.connection_limit(backend) for backend in (own, pooled)], [300, 3])

    def test_hostsAreKeptInLowerCase(self) -> None:
        """Hosts are compared without regard to case, so the model has one form."""
        self.assertEqual(Route(name="a", hosts=("A.Example", "a.example")).hosts, ("a.example", "a.example"))

    def test_rulesKeepTheirWriting(self) -> None:
        """Names and values of header rules stay as they were written, also beyond ASCII in values."""
        rules = HeaderRules(set={"X-A": "\u00e4\t b"}, add={"Set-Cookie": ""}, remove=("SERVER",))
        self.assertEqual((rules.set, rules.add, rules.remove), ({"X-A": "\u00e4\t b"}, {"Set-Cookie": ""}, ("SERVER",)))
