"""Imports point the way a request travels, and pure packages touch nothing of the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import txproxy

_ROOT = Path(txproxy.__file__).parent

# Left may import right only; those of one rank may import each other.
_ORDER = (
    ("main",),
    ("ctl", "top", "shown"),
    ("service", "proxy", "signals", "application_log", "demo"),
    ("supervisor",),
    ("options", "announcing"),
    ("surroundings", "upgrade", "inherited", "notify", "pidfile", "privileges"),
    ("admin",),
    ("reload",),
    ("ports", "draining"),
    ("assembly", "cache_assembly", "cluster_assembly", "tls_assembly", "tracing_assembly"),
    ("downstream",),
    ("pipeline",),
    ("upstream",),
    ("cache",),
    ("tls",),
    ("bridge",),
    ("net",),
    ("observe",),
    ("exchange",),
    ("policy",),
    ("config",),
    ("wire",),
    ("errors",),
)
_RANKS = {name: rank for rank, names in enumerate(_ORDER) for name in names}
_OUTSIDE = frozenset(("__init__", "_version", "test", "testing"))
"""What stands beside the order: the package itself, its version, and what is only for tests."""

_PURE = frozenset(("errors", "wire", "config", "policy", "exchange"))
_IMPURE_MODULES = frozenset(
    (
        "OpenSSL", "asyncio", "multiprocessing", "random", "secrets", "select", "selectors", "signal", "socket", "ssl",
        "subprocess", "threading", "time", "twisted", "uuid",
    )
)  # fmt: skip
_IMPURE_NAMES = frozenset(("os.urandom", "os.getrandom", "datetime.now", "datetime.utcnow", "datetime.today"))

_MAKE_SERVICE = frozenset(("makeService", "make_service"))
_REACTOR = "twisted.internet.reactor"


class _Import(NamedTuple):
    target: str
    """The dotted name that is imported, ``from`` or not."""
    line: int
    function: str
    """Name of the outermost function that it stands in, or nothing."""


def _imports(source: str, package: str) -> Iterator[_Import]:
    """Yield everything that a module imports, wherever in it.

    :param package: dotted name of the package that the module is in.
    """
    for node, function in _walk(ast.parse(source), ""):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _Import(alias.name, node.lineno, function)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield _Import(f"{module}.{alias.name}", node.lineno, function)


def _walk(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        inner = function
        if not function and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = child.name
        yield child, inner
        yield from _walk(child, inner)


def _layer_of(dotted: str) -> str:
    """Return the layer of a name within the project, or nothing."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "txproxy" and len(parts) > 1 else ""


def _upward_arrows(source: str, package: str, layer: str) -> list[str]:
    """Return what a module of a layer imports although it must not."""
    found = []
    for each in _imports(source, package):
        other = _layer_of(each.target)
        if each.target == "txproxy" or other in ("__version__", "_version", "__init__"):
            continue
        if other and other not in _RANKS:
            found.append(f"line {each.line}: {each.target} is in no layer")
        elif other and other != layer and _RANKS[other] < _RANKS[layer]:
            found.append(f"line {each.line}: {layer} imports {each.target}, which is to its left")
    return found


def _impurities(source: str, package: str) -> list[str]:
    """Return what ties a module to the world: clocks, chance, sockets, an event loop."""
    found = [
        f"line {each.line}: {each.target}"
        for each in _imports(source, package)
        if each.target.partition(".")[0] in _IMPURE_MODULES or each.target in _IMPURE_NAMES
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in _IMPURE_NAMES:
                found.append(f"line {node.lineno}: {name}")
    return found


def _global_reactors(source: str, package: str) -> list[_Import]:
    """Return the imports of the global reactor."""
    return [each for each in _imports(source, package) if f"{each.target}.".startswith(f"{_REACTOR}.")]


def _modules() -> Iterator[tuple[Path, str, str]]:
    """Yield each module of the project with its package and its layer."""
    for path in sorted(_ROOT.rglob("*.py")):
        relative = path.relative_to(_ROOT)
        package = ".".join(("txproxy", *relative.parts[:-1]))
        yield path, package, relative.parts[0].removesuffix(".py")


class LayeringTests(SynchronousTestCase):
    """The law of the house, read from the sources."""

    def test_everyModuleIsInALayer(self) -> None:
        """A new package takes its place in the order, or beside it."""
        for path, _, layer in _modules():
            self.assertTrue(layer in _RANKS or layer in _OUTSIDE, f"{path} is in no layer")

    def test_importsPointTheWayARequestTravels(self) -> None:
        """No module imports from a layer to its left."""
        problems = []
        for path, package, layer in _modules():
            if layer in _RANKS:
                problems += [f"{path}: {each}" for each in _upward_arrows(path.read_text(), package, layer)]
        self.assertEqual(problems, [])

    def test_purePackagesTouchNothingOfTheWorld(self) -> None:
        """Bytes or facts and the time come in as arguments; decisions come out."""
        problems = []
        for path, package, layer in _modules():
            if layer in _PURE:
                problems += [f"{path}: {each}" for each in _impurities(path.read_text(), package)]
        self.assertEqual(problems, [])

    def test_theReactorIsAParameter(self) -> None:
        """Only who starts the process takes the global one: the command, and what twistd calls."""
        problems = []
        for path, package, layer in _modules():
            if layer in ("test", "main"):
                continue
            for each in _global_reactors(path.read_text(), package):
                if layer != "service" or each.function not in _MAKE_SERVICE:
                    problems.append(f"{path}: line {each.line}")
        self.assertEqual(problems, [])


class CheckerTests(SynchronousTestCase):
    """The checks above see what they are for."""

    def test_upwardArrowsAreSeen(self) -> None:
        """Absolute and relative, at the top and within a function, of packages and of modules."""
        for source in (
            "from txproxy.policy.routing import Match",
            "import txproxy.policy.routing",
            "from txproxy import policy",
            "from txproxy.exchange import Exchange",
            "from ..policy.routing import Match",
            "from .. import policy",
            "from ..exchange import Exchange",
            "def f():\n    from txproxy.net import tcp",
            "class C:\n    def f(self):\n        import txproxy.service",
            "try:\n    from ..upstream import pool\nexcept ImportError:\n    pass",
            "from txproxy.unheard_of import x",
        ):
            self.assertEqual(len(_upward_arrows(source, "txproxy.wire", "wire")), 1, source)

    def test_otherArrowsPass(self) -> None:
        """To the right, within a layer, and to others' packages."""
        for source in (
            "from txproxy.errors import BadRequest",
            "from ..errors import BadRequest",
            "from . import framing",
            "from .fields import Field",
            "from txproxy.wire import h1",
            "import twisted.internet.defer",
            "from policy import x",
            "from txproxy import __version__",
        ):
            self.assertEqual(_upward_arrows(source, "txproxy.wire", "wire"), [], source)
        self.assertEqual(_upward_arrows("from txproxy.signals import x", "txproxy", "service"), [])
        self.assertEqual(len(_upward_arrows("from txproxy.main import x", "txproxy", "service")), 1)

    def test_impurityIsSeen(self) -> None:
        """Modules by any form of import, and single functions of others."""
        for source in (
            "import time",
            "import time as clock",
            "from time import monotonic",
            "import socket",
            "from twisted.internet import defer",
            "import twisted.python.failure",
            "from OpenSSL import SSL",
            "def f():\n    import random",
            "from os import urandom",
            "import os\nx = os.urandom(8)",
            "from datetime import datetime\nx = datetime.now()",
        ):
            self.assertEqual(len(_impurities(source, "txproxy.wire")), 1, source)
        for source in (
            "import os",
            "import re",
            "from . import time",
            "from txproxy.wire import random",
            "import timeit",
        ):
            self.assertEqual(_impurities(source, "txproxy.wire"), [], source)

    def test_theGlobalReactorIsSeen(self) -> None:
        """By any form of import; the function it stands in is told."""
        for source in (
            "from twisted.internet import reactor",
            "from twisted.internet import defer, reactor as r",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
        ):
            self.assertEqual(len(_global_reactors(source, "txproxy.net")), 1, source)
        inside = "def makeService(o):\n    from twisted.internet import reactor"
        self.assertEqual([each.function for each in _global_reactors(inside, "txproxy")], ["makeService"])
        self.assertEqual(_global_reactors("from twisted.internet import reactors", "txproxy"), [])
        self.assertEqual(_global_reactors("def f(reactor):\n    return reactor", "txproxy"), [])
