"""Which peers are there, where they are found, and what they say of themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench import installed
    from bench.installed import (
        HOMES,
        VERSIONS,
        path_of,
        python_with,
        stream_module,
        version_in,
        version_of,
        version_with,
    )
    from bench.proxies import PROXIES, Proxy
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

SAID = {
    "nginx": ("nginx version: nginx/1.22.1\n", "1.22.1"),
    "haproxy": (
        "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: ...\n",
        "2.6.12-1+deb12u4",
    ),
    "envoy": ("\n/x/envoy  version: 9e558093/1.40.0/Clean/RELEASE/BoringSSL\n\n", "1.40.0/Clean/RELEASE/BoringSSL"),
    "traefik": ("Version:      3.7.15\nCodename:     langres\nGo version:   go1.26.9\n", "3.7.15"),
    "caddy": ("v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=\n", "2.11.7"),
    "varnish": ("varnishd (varnish-7.1.1 revision 7cee1c58)\nCopyright (c) 2006 Verdens Gang AS\n", "7.1.1"),
    "wrk": ("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n", "debian/4.1.0-3+b2"),
    "h2load": ("h2load nghttp2/1.52.0\n", "1.52.0"),
}


class VersionTests(SynchronousTestCase):
    """Every peer's version is in the facts of a run."""

    def test_of_what_they_say(self) -> None:
        self.assertEqual(set(SAID), set(VERSIONS))
        for name, (said, version) in SAID.items():
            self.assertEqual(version_in(name, said), version)

    def test_unknown(self) -> None:
        self.assertEqual(version_in("caddy", "something else"), "unknown")

    def test_of_every_program(self) -> None:
        programs = {program for program, _, _ in VERSIONS.values()}
        self.assertLessEqual({proxy.program for proxy in PROXIES if proxy.program}, programs)

    def test_of_this_interpreter(self) -> None:
        self.assertRegex(version_with("twisted"), r"^\d+\.")


class FindingTests(SynchronousTestCase):
    """The path goes before the homes that `make bench-peers` makes."""

    def setUp(self) -> None:
        self.cache = Path(self.mktemp()).absolute()
        self.patch(installed, "CACHE", self.cache)
        self.path = self.cache / "path"
        self.patch(os, "environ", {"PATH": str(self.path)})

    def put(self, place: Path) -> str:
        """Make a program that says nothing."""
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("#!/bin/sh\n")
        place.chmod(0o755)
        return str(place)

    def test_nowhere(self) -> None:
        self.assertIsNone(path_of("caddy"))
        self.assertEqual(version_of("caddy"), "not installed")

    def test_in_its_home(self) -> None:
        for program in ("envoy", "traefik", "caddy"):
            there = self.put(self.cache / program / "bin" / program)
            self.assertEqual(path_of(program), there)

    def test_path_first(self) -> None:
        self.put(self.cache / "caddy" / "bin" / "caddy")
        there = self.put(self.path / "caddy")
        self.assertEqual(path_of("caddy"), there)

    def test_interpreter_of_the_bench_first(self) -> None:
        self.put(self.cache / "twisted" / "bin" / "python")
        self.assertEqual(python_with("twisted"), sys.executable)

    def test_interpreter_of_a_home(self) -> None:
        self.patch(installed, "HOMES", (*HOMES, "no-such-distribution"))
        self.assertIsNone(python_with("no-such-distribution"))
        there = self.put(self.cache / "no-such-distribution" / "bin" / "python")
        self.assertEqual(python_with("no-such-distribution"), there)

    def test_no_home_but_those(self) -> None:
        self.put(self.cache / "no-such-distribution" / "bin" / "python")
        self.assertIsNone(python_with("no-such-distribution"))

    def test_reason_why_one_is_missing(self) -> None:
        peer = Proxy("caddy", "", (), "caddy", hint=" (do that)")
        self.assertEqual(peer.missing(), "caddy is not installed (do that)")
        peer = Proxy("x", "", (), distribution="no-such-distribution", hint=" (do that)")
        self.assertEqual(peer.missing(), "no-such-distribution is not installed (do that)")

    def test_not_without_streams(self) -> None:
        self.put(self.path / "nginx")
        peer = Proxy("nginx", "", (), "nginx", without_tcp=lambda: "no streams")
        self.assertEqual(peer.missing(), "")
        self.assertEqual(peer.missing(["tcp"]), "no streams")

    def test_streams_built_in(self) -> None:
        self.assertIsNone(stream_module("configure arguments: --with-stream --with-http"))
        self.assertRaises(LookupError, stream_module, "configure arguments: --with-http")
