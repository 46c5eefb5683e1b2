"""Tests for :mod:`txproxy.config.dump`."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.dump import dump, schema
from txproxy.config.model import AdminSettings, Config
from txproxy.test.config.helpers import MINIMAL, load
from txproxy.test.config.test_model import EXAMPLE

RICH = MINIMAL + (
    '[cluster."b.c"]\nbackends = [{ address = "unix:/a", weight = 3 }, { address = "[::1]:1", max_connections = 2 }]\n'
    '[cluster."b.c".pool]\nidle_timeout_s = 0.25\n'
    '[cluster.checked]\nbackends = [{ address = "a:1" }]\ntls = { verify = false }\n'
    '[cluster.checked.health]\ntype = "tls"\n[cluster.connected]\nhealth = { type = "tcp" }\n'
    'backends = [{ address = "a:1" }]\n'
    '[[route]]\nname = "second"\ncluster = "b.c"\nheaders = { "X-A" = "\\"$${x}\\\\ \\u00e4" }\n'
    'hosts = ["*.a"]\nreply_headers = { set = { X-B = "" }, remove = ["Server"] }\n'
)


class DumpTests(SynchronousTestCase):
    """The effective configuration as TOML."""

    def test_theDumpLoadsToTheSame(self) -> None:
        """What is dumped can be loaded again, to an equal configuration and an equal dump."""
        for text in (MINIMAL, RICH):
            config = load(text).config
            again = load(dump(config)).config
            self.assertEqual(again.model_dump(), config.model_dump())
            self.assertEqual(dump(again), dump(config))

    def test_everyDefaultIsShown(self) -> None:
        """Keys that nobody wrote are there; those that nothing serves yet stand as comments."""
        lines = dump(load(MINIMAL).config).split("\n")
        for line in (
            "workers = 1",
            "shutdown_timeout_s = 30",
            'level = "info"',
            "idle_timeout_s = 30",
            "h2_max_streams = 100",
            "tunnel_idle_s = 3600",
            "[cluster.api.passive]",
            "failures = 5",
            "verify = true",
            'upgrades = ["websocket"]',
            "request_headers = { set = {}, add = {}, remove = [] }",
            '  { address = "127.0.0.1:8081", weight = 1, backup = false },',
        ):
            self.assertIn(line, lines)

    def test_uncommentedItIsTheWholeModel(self) -> None:
        """Also what is not served yet is written as valid TOML, in the comments."""
        config = Config.model_validate(tomllib.loads(EXAMPLE), by_alias=True, by_name=False)
        text = "\n".join(line.removeprefix("# ") for line in dump(config).split("\n"))
        again = Config.model_validate(tomllib.loads(text), by_alias=True, by_name=False)
        self.assertEqual(again, config)

    def test_secretsAreMasked(self) -> None:
        """Neither the token nor credentials that are sent to backends are shown."""
        text = MINIMAL.replace(
            "cluster = ", "request_headers.set = { Authorization = 's3cret', X-A = 'b' }\ncluster = "
        )
        config = load(text).config.model_copy(update={"admin": AdminSettings(token="s3cret")})
        shown = dump(config)
        self.assertNotIn("s3cret", shown)
        self.assertIn('token = "***"', shown)
        self.assertIn('set = { Authorization = "***", X-A = "b" }', shown)
        self.assertIn('token = ""', dump(config.model_copy(update={"admin": AdminSettings()})))

    def test_includedFilesAreNotNamedAgain(self) -> None:
        """What they held is part of the whole, so loading the dump must not read them again."""
        config = load(MINIMAL).config.model_copy(update={"include": ("a.toml",)})
        self.assertIn("include = []", dump(config))


class SchemaTests(SynchronousTestCase):
    """The JSON Schema for editors."""

    def test_everyKeyHasItsDescription(self) -> None:
        """The schema has TOML's keys with description, and refuses others."""
        found: dict[str, Any] = json.loads(json.dumps(schema()))
        self.assertEqual(set(found["properties"]) & {"listener", "listeners"}, {"listener"})
        for section in [found, *found["$defs"].values()]:
            self.assertFalse(section["additionalProperties"])
            for key, value in section["properties"].items():
                # A reference to a section with the very same description is left to that.
                target = found["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
                self.assertTrue(value.get("description") or target.get("description"), key)
        timeout = found["$defs"]["Listener"]["properties"]["header_timeout_s"]
        self.assertEqual((timeout["default"], timeout["exclusiveMinimum"], timeout["type"]), (10.0, 0, "number"))
