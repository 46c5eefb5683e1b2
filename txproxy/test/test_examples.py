"""What ``examples/`` and ``docs/`` show is true: each example loads, and the tables of keys are up to date."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import txproxy
from txproxy.config.load import load_file
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts
from txproxy.test.authority import Authority
from txproxy.wire.messages import RequestHead

PROJECT = Path(txproxy.__file__).parents[1]


def project_path(name: str) -> Path:
    """Return the path of a file of the project.

    :raises SkipTest: the package was installed without it.
    """
    path = PROJECT / name
    if not path.exists():
        raise SkipTest(f"{name} is not part of an installed package")
    return path


def request_facts(client: str = "192.0.2.1", **fields: str) -> RequestFacts:
    """Return the facts of a GET of ``/`` with some fields; ``_`` in a name stands for ``-``."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return RequestFacts(RequestHead(b"GET", b"/", 1, lines, {}), client, "http", "web")


class ExampleTests(SynchronousTestCase):
    """Examples can be used as they are."""

    def setUp(self) -> None:
        """Let modules in the examples' folder be found, as PYTHONPATH does for who runs them."""
        folder = str(project_path("examples"))
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        self.addCleanup(sys.modules.pop, "policies", None)

    def test_tomlExamplesLoad(self) -> None:
        """Each file of TOML is accepted, whatever the environment."""
        names = {path.name for path in project_path("examples").glob("*.toml")}
        self.assertEqual(
            names,
            {
                f"{name}.toml"
                for name in ("forwarder", "several-backends", "hosts", "balancing", "caching", "tls", "grpc", "tcp")
            },
        )
        for name in sorted(names):
            self.assertTrue(load_file(project_path(f"examples/{name}"), {}).config.listeners, name)

    def test_forwarderTakesItsAddressesFromTheEnvironment(self) -> None:
        """The variables that the comment names are the ones that count."""
        variables = {"FRONT": "127.0.0.1:9000", "BACKEND": "127.0.0.1:3000"}
        config = load_file(project_path("examples/forwarder.toml"), variables).config
        self.assertEqual(config.listeners[0].address, "127.0.0.1:9000")
        self.assertEqual(config.clusters["app"].backends[0].address, "127.0.0.1:3000")

    def test_siteChooses(self) -> None:
        """The Python site sends phones to their cluster, and each other client to the same one each time."""
        loaded = load_file(project_path("examples/site.py"))
        choose = loaded.functions["site:choose"]

        def chosen(client: str, agent: str) -> str:
            return str(choose(request_facts(client, User_Agent=agent)))

        self.assertEqual(chosen("192.0.2.1", "Mozilla/5.0 (Mobile)"), "mobile")
        clients = [f"192.0.2.{number}" for number in range(256)]
        first = [chosen(client, "curl") for client in clients]
        self.assertEqual(first, [chosen(client, "curl") for client in clients])
        self.assertEqual(set(first), {"stable", "next"})
        self.assertLess(first.count("next"), first.count("stable"))

    def test_cheapestPutsPriceBeforeLoad(self) -> None:
        """The policy prefers cheap backends until they have enough to do; an urgent request goes where least is."""
        loaded = load_file(project_path("examples/balancing.toml"), {})
        cheapest = loaded.functions["policies:cheapest"]
        names = [backend.address for backend in loaded.config.clusters["reports"].backends]
        candidates = tuple(Candidate(name) for name in names)
        first, second, dear = candidates

        def order(chance: float = 0.5, **fields: str) -> list[Candidate]:
            return list(cheapest(candidates, request_facts(**fields), 0.0, lambda: chance))

        self.assertEqual(order()[2], dear)
        self.assertEqual(order(), [first, second, dear])
        first.active = 20
        self.assertEqual(order(), [second, dear, first])
        first.weight = 2
        self.assertEqual(order()[:2], [first, second])
        first.active, second.active, dear.active = 3, 2, 1
        self.assertEqual(order(X_Urgent="1"), [dear, first, second])

    def test_replicaIsJudgedByItsLag(self) -> None:
        """The health check says what is wrong with a report, and asks the backend that is checked for it."""
        probe = load_file(project_path("examples/balancing.toml"), {}).functions["policies:replica"]
        module = sys.modules["policies"]
        for report, expected in (
            (b'{"lag_s": 5}', True),
            (b'{"lag_s": 6.5}', "6.5 s behind"),
            (b'{"lag_s": null}', "the report has no lag_s"),
            (b"[]", "the report has no lag_s"),
            (b"{", "the report has no lag_s"),
        ):
            urls: list[str] = []

            def fetch(url: str, urls: list[str] = urls, report: bytes = report) -> bytes:
                urls.append(url)
                return report

            self.patch(module, "fetch", fetch)
            self.patch(module, "deferToThread", maybeDeferred)
            checked = Deferred.fromCoroutine(probe(Candidate("127.0.0.1:9031")))
            self.assertEqual((self.successResultOf(checked), urls), (expected, ["http://127.0.0.1:9031/replication"]))

    def test_embedJoinsBothServices(self) -> None:
        """The embedding application listens with its own server and with the proxy."""
        names = runpy.run_path(str(project_path("examples/embed.py")), run_name="embed")
        application = names["make_application"](MemoryReactorClock())
        self.assertEqual(len(list(application)), 2)

    def test_tacUsesTheFlagsOfTheCommand(self) -> None:
        """The flags in ``proxy.tac`` are understood."""
        from txproxy.options import Options, configure

        text = project_path("proxy.tac").read_text(encoding="utf-8")
        flags: dict[str, Any] = {}
        exec(next(line for line in text.splitlines() if line.startswith("FLAGS = ")), flags)
        options = Options()
        options.parseOptions(flags["FLAGS"])
        config, _ = configure(options)
        self.assertEqual(config.listeners[0].address, "127.0.0.1:8080")
        self.assertEqual([backend.address for backend in config.clusters["quick"].backends], ["127.0.0.1:8081"])


FRONT = """\
[[listener]]
name = "web"
address = "127.0.0.1:0"

[[route]]
name = "app"
cluster = "app"

"""
BACKENDS = '[cluster.app]\nbackends = [{ address = "a.test:1" }]\n'
"""What a document leaves out where it shows tables of ``cluster.app`` alone; the latter where these are of its parts."""


class DocumentTests(SynchronousTestCase):
    """Documents say what is."""

    def test_referenceIsUpToDate(self) -> None:
        """The tables in ``docs/configuration.md`` are those of the models; ``make reference`` writes them anew."""
        names = runpy.run_path(str(project_path("docs/make_reference.py")), run_name="make_reference")
        page = project_path("docs/configuration.md").read_text(encoding="utf-8")
        self.assertTrue(page == names["updated"](page), "run `make reference`")

    def test_tomlInDocumentsLoads(self) -> None:
        """Every configuration that a document shows is accepted, on its own or with what it says nothing about."""
        from txproxy.config.load import load_text

        shown = 0
        authority = Path(self.mktemp())
        authority.write_bytes(Authority().certificate)
        for name in (
            "README.md",
            "docs/configuration.md",
            "docs/balancing.md",
            "docs/operations.md",
            "docs/reload.md",
            "docs/tls.md",
            "docs/http2.md",
            "docs/caching.md",
            "docs/tcp.md",
        ):
            for block in project_path(name).read_text(encoding="utf-8").split("```toml\n")[1:]:
                text = block.partition("```")[0]
                text = re.sub(r'"[^"]*-ca\.pem"', f'"{authority.resolve()}"', text)
                if "[[listener]]" not in text:
                    text = FRONT + ("" if "[cluster.app]" in text else BACKENDS) + text
                load_text(text, name, {})
                shown += 1
        self.assertGreater(shown, 0)

    def test_everyEndReasonIsExplained(self) -> None:
        """``docs/operations.md`` has a row for each reason that the access log may name, with its status."""
        from txproxy import errors

        page = project_path("docs/operations.md").read_text(encoding="utf-8")
        rows = [line for line in page.splitlines() if line.startswith("| `")]
        kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
        for kind in kinds:
            if issubclass(kind, errors.ProxyError):
                found = [row for row in rows if row.startswith(f"| `{kind.end_reason}`")]
                self.assertEqual(len(found), 1, kind.end_reason)
                if kind.status:
                    self.assertIn(str(kind.status), found[0])
