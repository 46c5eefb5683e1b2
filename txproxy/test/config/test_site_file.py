"""Tests for site files and for functions that a configuration names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.functions import FunctionError, resolve_function
from txproxy.config.load import load_file
from txproxy.config.model import Config
from txproxy.test.config.helpers import MINIMAL, errors_of_file, write_files

SITE = """\
from txproxy.config.model import Backend, Cluster, Listener, Route

def pick(facts):
    return helper() + facts

def helper():
    return "cluster of "

{config}
"""
TABLES = """\
config = {
    "listener": [{"name": "web", "address": "127.0.0.1:0"}],
    "route": [
        {"name": "all",
         "choose": "site:pick"},
    ],
    "cluster": {"api": {"backends": [{"address": "a:1"}]}},
}
"""
CHOOSING = MINIMAL.replace('cluster = "api"', 'choose = "site:pick"')


class SiteCase(SynchronousTestCase):
    """A folder with files."""

    def setUp(self) -> None:
        """Make the folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.site = self.folder / "site.py"
        self.main = self.folder / "proxy.toml"

    def write(self, config: str) -> None:
        """Write a site file with this ``config``."""
        write_files(self.folder, {"site.py": SITE.replace("{config}", config)})


class SiteFileTests(SiteCase):
    """A site file as the configuration."""

    def test_tablesAreLoaded(self) -> None:
        """A dict in the shape of TOML is the configuration, and a function in the file works with the file's names."""
        self.write(TABLES)
        loaded = load_file(self.site, {})
        self.assertEqual(loaded.config.listeners[0].name, "web")
        self.assertEqual(loaded.functions["site:pick"]("x"), "cluster of x")
        self.assertEqual(loaded.files, (self.site,))
        self.assertNotIn("txproxy_site", sys.modules)

    def test_theModelIsLoaded(self) -> None:
        """A Config is the configuration, from a name or from a function."""
        model = (
            'Config(listener=(Listener(name="web", address="127.0.0.1:0"),),'
            ' route=(Route(name="all", choose="site:pick"),),'
            ' cluster={"api": Cluster(backends=(Backend(address="a:1"),))})'
        )
        for config in (f"config = {model}", f"def config():\n    return {model}"):
            self.write("from txproxy.config.model import Config\n" + config)
            loaded = load_file(self.site, {})
            self.assertIsInstance(loaded.config, Config)
            self.assertEqual(loaded.config.routes[0].choose, "site:pick")
            self.assertEqual(list(loaded.functions), ["site:pick"])

    def test_errorsStandOnTheLineOfTheLiteral(self) -> None:
        """A key of a dict that is written as a literal has its line; else it is that of ``config``."""
        wrong = TABLES.replace("site:pick", "site:pik").replace('"backends"', '"bakends"')
        self.write(wrong)
        self.assertEqual(
            errors_of_file(self.site),
            [
                "site.py:13: route[0].choose: the site file defines no 'pik'",
                "site.py:15: cluster.api.backends: this key is needed",
                "site.py:15: cluster.api.bakends: unknown key (did you mean 'backends'?)",
            ],
        )
        self.write("config: dict = dict(listener=[])")
        self.assertEqual(
            errors_of_file(self.site),
            ["site.py:9: listener: a configuration needs at least one listener (add a [[listener]] table)"],
        )
        self.write(f"def config():\n    {TABLES.replace('config =', 'return').replace('all', 'a b')}")
        self.assertEqual([error.partition(": ")[0] for error in errors_of_file(self.site)], ["site.py:13"])

    def test_includedFilesAreMerged(self) -> None:
        """A site file may include files of TOML."""
        self.write(TABLES.replace("config = {", 'config = {"include": ["a.toml"],'))
        write_files(self.folder, {"a.toml": "[proxy]\nbacklog = 3\n[[listener]]\nname = 'b'\naddress = 'x'\n"})
        errors = errors_of_file(self.site)
        self.assertEqual(len(errors), 1)
        self.assertTrue(errors[0].startswith('a.toml:5: listener[1].address: "x" has no port'))

    def test_faultsAreErrorsWithALine(self) -> None:
        """Whatever a site file does wrong is an error with the failing line, never a traceback."""
        for config, expected in (
            ("x = 1", "site.py:1: config: the site file defines no config (allowed: a dict, a Config)"),
            (
                "config = 3",
                "site.py:9: config: must be a dict, a Config or a function that returns one, not int",
            ),
            ("config = {}[1]", "site.py:9: KeyError: 1"),
            (
                "\n\ndef config():\n    x = 1\n    return x[0]",
                "site.py:13: TypeError: 'int' object is not subscriptable",
            ),
            ("import sys\nsys.exit(3)", "site.py:10: SystemExit: 3"),
            ("def config(:", "site.py:9: SyntaxError: invalid syntax"),
            ("raise ValueError", "site.py:9: ValueError"),
            ("import no_such_module_x", "site.py:9: ModuleNotFoundError: No module named 'no_such_module_x'"),
        ):
            self.write(config)
            self.assertEqual(errors_of_file(self.site), [expected])

    def test_faultsElsewhereNameBothPlaces(self) -> None:
        """An exception from another module is shown with the line of the site file that led there."""
        self.write("import json\nconfig = json.loads('x')")
        error = errors_of_file(self.site)[0]
        self.assertTrue(error.startswith("site.py:10: JSONDecodeError: Expecting value"), error)
        self.assertRegex(error, r"\(raised at .*decoder\.py:\d+\)$")

    def test_aSiteFileThatIsNotThereIsAnError(self) -> None:
        """The file that was asked for is named."""
        self.assertEqual(errors_of_file(self.site), ["site.py: cannot run this file: No such file or directory"])


class SiteBesideTomlTests(SiteCase):
    """``site:`` in a file of TOML."""

    def test_siteIsTheFileBeside(self) -> None:
        """``site.py`` beside the configuration has the functions, whether or not it has a ``config``."""
        self.write("")
        write_files(self.folder, {"proxy.toml": CHOOSING})
        loaded = load_file(self.main, {})
        self.assertEqual(loaded.functions["site:pick"]("x"), "cluster of x")
        self.assertEqual(loaded.files, (self.main, self.site))

    def test_aMissingFileOrFunctionIsAnError(self) -> None:
        """The error stands where the function is named."""
        write_files(self.folder, {"proxy.toml": CHOOSING})
        self.assertEqual(
            errors_of_file(self.main), ["proxy.toml:7: route[0].choose: there is no site.py beside the configuration"]
        )
        write_files(self.folder, {"site.py": "pick = 3"})
        self.assertEqual(
            errors_of_file(self.main),
            ["proxy.toml:7: route[0].choose: 'site:pick' is not a function but of type int"],
        )
        write_files(self.folder, {"site.py": "\npick = 1 / 0"})
        self.assertEqual(errors_of_file(self.main), ["site.py:2: ZeroDivisionError: division by zero"])

    def test_siteIsNotRunWithoutNeed(self) -> None:
        """A ``site.py`` that nothing names is left alone."""
        write_files(self.folder, {"proxy.toml": MINIMAL, "site.py": "1 / 0"})
        self.assertEqual(load_file(self.main, {}).functions, {})


class ResolveFunctionTests(SiteCase):
    """References to functions."""

    def test_functionsAreFound(self) -> None:
        """Modules, packages and attributes of attributes are followed."""
        namespace: Mapping[str, object] = {"pick": len, "group": str}
        for reference, expected in (
            ("os.path:join", __import__("os").path.join),
            ("json:JSONDecoder.decode", __import__("json").JSONDecoder.decode),
            ("site:pick", len),
            ("site:group.upper", str.upper),
        ):
            self.assertIs(resolve_function(reference, namespace), expected)

    def test_whatIsNoFunctionIsRefused(self) -> None:
        """Each way to fail has its message."""
        for reference, message in (
            ("no_such_module_x.y:f", "there is no module 'no_such_module_x' (is its folder in PYTHONPATH?)"),
            ("json.nothing:f", "there is no module 'json.nothing' (is its folder in PYTHONPATH?)"),
            ("json:f", "the module 'json' has no 'f'"),
            ("json:loads.f", "'loads' of 'json' has no 'f'"),
            ("json:__name__", "'json:__name__' is not a function but of type str"),
            ("site:f", "the site file defines no 'f'"),
        ):
            self.assertEqual(str(self.assertRaises(FunctionError, resolve_function, reference, {})), message)

    def test_modulesThatFailAreRefused(self) -> None:
        """A module that raises when it is imported is an error of the configuration."""
        write_files(
            self.folder, {"txproxy_raises.py": "raise SystemExit(1)", "txproxy_needs.py": "import no_such_module_x"}
        )
        self.patch(sys, "path", [str(self.folder), *sys.path])
        for reference, message in (
            ("txproxy_raises:f", "importing 'txproxy_raises' failed: SystemExit: 1"),
            ("txproxy_needs:f", "importing 'txproxy_needs' failed: No module named 'no_such_module_x'"),
        ):
            self.assertEqual(str(self.assertRaises(FunctionError, resolve_function, reference, None)), message)
