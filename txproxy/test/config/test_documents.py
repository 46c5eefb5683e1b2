"""Tests for :mod:`txproxy.config.documents` and for secrets in files, through files in a folder of their own."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import load_file
from txproxy.test.config.helpers import MINIMAL, errors_of_file, write_files

ROUTE = '[[route]]\nname = "{0}"\ncluster = "api"\n'


class IncludeTests(SynchronousTestCase):
    """``include``."""

    def setUp(self) -> None:
        """Make a folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.main = self.folder / "proxy.toml"

    def write(self, **files: str) -> None:
        """Write files; ``__`` in a name stands for a folder."""
        write_files(self.folder, {f"{name.replace('__', '/')}.toml": text for name, text in files.items()})

    def test_filesAreMerged(self) -> None:
        """Arrays of tables are appended in the order of the files' names, tables are merged."""
        self.write(
            proxy='include = ["conf.d/*.toml", "one.toml", "no-such/*.toml"]\n' + MINIMAL,
            one="[proxy]\nbacklog = 7\n[cluster.api.pool]\nqueue = 3\n",
            conf__b=ROUTE.format("b"),
            conf__a=ROUTE.format("a") + "[proxy]\nmax_connections = 9\n",
        )
        (self.folder / "conf").rename(self.folder / "conf.d")
        loaded = load_file(self.main, {})
        self.assertEqual([route.name for route in loaded.config.routes], ["all", "a", "b"])
        self.assertEqual((loaded.config.proxy.backlog, loaded.config.proxy.max_connections), (7, 9))
        self.assertEqual(loaded.config.clusters["api"].pool.queue, 3)
        self.assertEqual(loaded.config.clusters["api"].backends[0].address, "127.0.0.1:8081")
        names = [str(path.relative_to(self.folder)) for path in loaded.files]
        self.assertEqual(names, ["proxy.toml", "conf.d/a.toml", "conf.d/b.toml", "one.toml"])

    def test_nestedFilesAreRelativeToTheirOwnFolder(self) -> None:
        """An included file may include others, from where it stands; variables may name them."""
        self.write(
            proxy='include = ["${DIR}/a.toml"]\n' + MINIMAL,
            sub__a='include = ["b.toml"]\n' + ROUTE.format("a"),
            sub__b=ROUTE.format("b"),
        )
        loaded = load_file(self.main, {"DIR": "sub"})
        self.assertEqual([route.name for route in loaded.config.routes], ["all", "a", "b"])

    def test_errorsStandInTheirOwnFile(self) -> None:
        """An error in an included file names that file and its line; so does one that two files make together."""
        self.write(
            proxy='include = ["a.toml", "b.toml"]\n' + MINIMAL,
            a="\n" + ROUTE.format("all").replace("api", "aip"),
            b="[proxy]\nbacklog = 'x'\n\n[[route]]\nname = 'c'\nclutser = 'api'\n",
        )
        self.assertEqual(
            errors_of_file(self.main),
            [
                'a.toml:3: route[1].name: "all" is the name of route[0] already',
                "a.toml:4: route[1].cluster: there is no cluster \"aip\" (allowed: api; did you mean 'api'?)",
                'b.toml:2: proxy.backlog: must be a whole number, not "x"',
                "b.toml:4: route[2].cluster: a route needs a cluster (or choose, the name of a Python function)",
                "b.toml:6: route[2].clutser: unknown key (did you mean 'cluster'?)",
            ],
        )

    def test_aKeySetTwiceNamesBothPlaces(self) -> None:
        """No file overrides another in silence."""
        self.write(
            proxy='include = ["a.toml"]\n[proxy]\nbacklog = 1\n' + MINIMAL,
            a="\n\n[proxy]\nbacklog = 1\n[cluster.api]\nbackends = 3\n",
        )
        self.assertEqual(
            errors_of_file(self.main),
            [
                "a.toml:4: proxy.backlog: set twice (it is set at proxy.toml:3 already)",
                "a.toml:6: cluster.api.backends: set twice (it is set at proxy.toml:13 already)",
            ],
        )

    def test_loopsAreRefused(self) -> None:
        """Files that include each other are an error at the key that closes the loop."""
        self.write(proxy='include = ["a.toml"]\n' + MINIMAL, a='include = ["b.toml"]\n', b='\ninclude = ["*.toml"]\n')
        self.assertEqual(
            errors_of_file(self.main),
            [
                "b.toml:2: include[0]: files include each other: a.toml -> b.toml -> a.toml",
                "b.toml:2: include[0]: files include each other: b.toml -> b.toml",
                "b.toml:2: include[0]: files include each other: proxy.toml -> a.toml -> b.toml -> proxy.toml",
            ],
        )

    def test_aFileNamedTwiceIsReadOnce(self) -> None:
        """Two patterns that match the same file are no error."""
        self.write(proxy='include = ["a.toml", "a*.toml"]\n' + MINIMAL, a=ROUTE.format("a"))
        self.assertEqual(len(load_file(self.main, {}).config.routes), 2)

    def test_filesThatCannotBeReadAreErrors(self) -> None:
        """A file that is not there, not text or not TOML is an error; the others are read on, names wait."""
        self.write(
            proxy='include = [\n  "no.toml",\n  "${NO}",\n  "bad.toml",\n "bytes.toml", "b.toml"]\n'
            + MINIMAL
            + "x=1\n",
            bad="\na b",
            b=ROUTE.format("a").replace("api", "elsewhere") + "y = 1\n",
        )
        (self.folder / "bytes.toml").write_bytes(b"# \n# \xff\n")
        errors = errors_of_file(self.main)
        self.assertEqual(
            errors,
            [
                f'proxy.toml:2: include[0]: cannot read "{self.folder}/no.toml"'.replace(f"{self.folder}/", "")
                + ": No such file or directory",
                "proxy.toml:3: include[1]: the variable NO is not set (set it, or give a default as ${NO:-default})",
                errors[2],
                "bad.toml:2: not valid TOML: Expected '=' after a key in a key/value pair (column 3)",
                "bytes.toml:2: not valid TOML: the file is not UTF-8",
                "b.toml:4: route[1].y: unknown key " + errors[5].partition("unknown key ")[2],
            ],
        )
        self.assertTrue(errors[2].startswith("proxy.toml:16: cluster.api.x: unknown key (allowed: balance, "))

    def test_aMainFileThatIsNotThereIsAnError(self) -> None:
        """The file that was asked for is named, without a line."""
        self.assertEqual(errors_of_file(self.main), ['proxy.toml: cannot read "proxy.toml": No such file or directory'])


class SecretTests(SynchronousTestCase):
    """``file:PATH``."""

    def setUp(self) -> None:
        """Make a folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.main = self.folder / "proxy.toml"

    def write(self, value: str) -> None:
        """Write a configuration, in an included file of another folder, that sends this credential."""
        route = f"[[route]]\nname = 's'\ncluster = 'api'\n[route.request_headers.set]\nAuthorization = '{value}'\n"
        write_files(self.folder, {"proxy.toml": 'include = ["sub/a.toml"]\n' + MINIMAL, "sub/a.toml": route})

    def test_theFileIsRelativeToWhereItIsNamed(self) -> None:
        """The content stands for the value, without the line end, and is not expanded."""
        self.write("file:${NAME}")
        write_files(self.folder, {"sub/key": "Bearer ${x}\n"})
        loaded = load_file(self.main, {"NAME": "key"})
        self.assertEqual(loaded.config.routes[1].request_headers.set["Authorization"], "Bearer ${x}")
        self.assertEqual(loaded.files[-1], self.folder / "sub/key")

    def test_aFileThatCannotBeReadIsAnError(self) -> None:
        """The error stands where the file is named."""
        self.write("file:key")
        self.assertEqual(
            errors_of_file(self.main),
            [
                'sub/a.toml:5: route[1].request_headers.set.Authorization: cannot read "sub/key": '
                "No such file or directory"
            ],
        )
        (self.folder / "sub/key").write_bytes(b"\xff")
        self.assertIn("it is not UTF-8", errors_of_file(self.main)[0])

    def test_otherStringsAreNotFiles(self) -> None:
        """Where no secret stands, ``file:`` is ordinary text."""
        write_files(self.folder, {"proxy.toml": MINIMAL + "[log]\npath = 'file:x'\n"})
        self.assertEqual(load_file(self.main, {}).config.log.path, "file:x")
