"""The public tests of HTTP caches, ``http-cache-tests`` (cache-tests.fyi): its server, and its client as a judge."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from .client import DEADLINE_S, wait_for
from .peers import PROJECT, Process
from .tls_front import needed

VERSION = "0.4.5"
# .ci/run installs it.
_HOME = PROJECT / ".cache" / "cache-tests" / "node_modules" / "http-cache-tests"
_SURROGATE = "surrogate-control"

# As the suite's own cli.mjs, but all tests at once (it waits three seconds in many of them), or only those named.
_CLIENT = """
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const [home, base, ...wanted] = process.argv.slice(2);
const load = path => import(pathToFileURL(`${home}/${path}`));
const fetch = createRequire(pathToFileURL(`${home}/cli.mjs`))("node-fetch");
const { runTests, getResults } = await load("client/runner.mjs");
const groups = [...(await load("tests/index.mjs")).default, (await load("tests/surrogate-control.mjs")).default];
const isMeant = test => !test.browser_only && (wanted.length == 0 || wanted.includes(test.id));
const chosen = groups.map(group => ({ ...group, tests: group.tests.filter(isMeant) }));
await runTests(chosen, fetch, false, base, 1000);
const results = getResults(), found = [];
for (const group of chosen)
  for (const test of group.tests) {
    const result = results[test.id];
    const reason = result === true ? "" : result === undefined ? "no result" : result.join(": ");
    found.push([test.id, group.id, test.kind || "required", reason]);
  }
process.stdout.write(JSON.stringify(found), () => process.exit(0));
"""


class Verdict(NamedTuple):
    """What one test says."""

    id: str
    group: str
    kind: str
    """``required``, ``optimal``, or ``check``: a question with no wrong answer."""
    reason: str
    """Why it fails; empty if it passes."""

    @property
    def passed(self) -> bool:
        """Whether it passes."""
        return not self.reason


class CacheSuite:
    """The suite's server, which is the backend of the cache under test; a context manager.

    A test that makes one is skipped if the suite or Node is not installed.
    """

    def __init__(self) -> None:
        self._node = needed("node")
        if not _HOME.exists():
            pytest.skip(
                f"http-cache-tests is not installed: npm install --prefix {_HOME.parents[1]} http-cache-tests@{VERSION}"
            )
        installed = json.loads((_HOME / "package.json").read_text())["version"]
        assert installed == VERSION, f"{_HOME} is {installed}"
        self._directory = Path(tempfile.mkdtemp(prefix="txproxy-cache-suite-"))
        self._client = self._directory / "client.mjs"
        self._client.write_text(_CLIENT)
        settings = {"protocol": "http", "port": "0", "pidfile": str(self._directory / "pid")}
        environment = {**os.environ, **{f"npm_config_{name}": value for name, value in settings.items()}}
        arguments = [self._node, "--no-warnings", str(_HOME / "server" / "server.mjs")]
        self._server = Process(arguments, self._directory, environment)
        try:
            wait_for(lambda: self._said() or self._server.process.poll() is not None, "the suite's server")
            said = self._said()
            assert said, f"it did not start:\n{self._server.error_text}"
        except BaseException:
            self.__exit__()
            raise
        self.address = f"127.0.0.1:{said[1]}"

    def _said(self) -> re.Match[str] | None:
        return re.search(r"Listening on .*:(\d+)/\n", self._server.output_path.read_text())

    def __enter__(self) -> CacheSuite:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self, port: int, ids: Iterable[str] = ()) -> dict[str, Verdict]:
        """Judge the cache at a port by all tests, or by some; return what they say, by their ids."""
        done = subprocess.run(  # the command line is the test's own
            [self._node, "--no-warnings", str(self._client), str(_HOME), f"http://127.0.0.1:{port}", *ids],
            capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        # The suite itself prints notes on standard output.
        _, found, result = done.stdout.rpartition("[[")
        assert done.returncode == 0 and found, done
        return {each[0]: Verdict(*each) for each in json.loads(found + result)}


class Count(NamedTuple):
    """How many tests of a kind pass."""

    passed: int
    total: int

    def __str__(self) -> str:
        """Return it as the suite's site shows it."""
        return f"{self.passed}/{self.total}"


def count(verdicts: Iterable[Verdict], kind: str, of_surrogates: bool = False) -> Count:
    """Count the tests of a kind, without those of Surrogate-Control, or of these alone."""
    meant = [each for each in verdicts if each.kind == kind and (each.group == _SURROGATE) == of_surrogates]
    return Count(sum(each.passed for each in meant), len(meant))
