"""Tests for :mod:`txproxy.config.positions`."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.positions import scan
from txproxy.config.problems import KeyPath

DOCUMENT = '''\
# [not.a.table]
top = "a # b" # c
a.b."c.d" = 1

[listener]   # comment
'quoted key' = """
x = 1
[y]
\\""""""
deep = [ # here
  1,
  [2,
   3], { in = [
     true], more.less = 2 },
]
[ "a" . e ]
f = \'\'\'it's
''\'\'\'
g = 1979-05-27 07:32:00

[[route]]
[[route]]
name = "]"
[route.sub]
x = 1
[[route.sub.list]]
[[route.sub.list]]
y = {}
'''


class ScanTests(SynchronousTestCase):
    """Lines of keys."""

    def test_everyKindOfKeyHasItsLine(self) -> None:
        """Comments, strings over several lines, quoted and dotted keys and all kinds of tables are found through."""
        tomllib.loads(DOCUMENT)
        self.assertEqual(
            scan(DOCUMENT),
            {
                ("top",): 2,
                ("a",): 3,
                ("a", "b"): 3,
                ("a", "b", "c.d"): 3,
                ("listener",): 5,
                ("listener", "quoted key"): 6,
                ("listener", "deep"): 10,
                ("listener", "deep", 0): 11,
                ("listener", "deep", 1): 12,
                ("listener", "deep", 1, 0): 12,
                ("listener", "deep", 1, 1): 13,
                ("listener", "deep", 2): 13,
                ("listener", "deep", 2, "in"): 13,
                ("listener", "deep", 2, "in", 0): 14,
                ("listener", "deep", 2, "more"): 14,
                ("listener", "deep", 2, "more", "less"): 14,
                ("a", "e"): 16,
                ("a", "e", "f"): 17,
                ("a", "e", "g"): 19,
                ("route",): 21,
                ("route", 0): 21,
                ("route", 1): 22,
                ("route", 1, "name"): 23,
                ("route", 1, "sub"): 24,
                ("route", 1, "sub", "x"): 25,
                ("route", 1, "sub", "list"): 26,
                ("route", 1, "sub", "list", 0): 26,
                ("route", 1, "sub", "list", 1): 27,
                ("route", 1, "sub", "list", 1, "y"): 28,
            },
        )

    def test_lineEndsOfWindowsCountOnce(self) -> None:
        """A document with CRLF has the same lines."""
        self.assertEqual(scan(DOCUMENT.replace("\n", "\r\n")), scan(DOCUMENT))

    def test_theWrittenHeaderWins(self) -> None:
        """A table that is named first as part of another stands at its own header."""
        self.assertEqual(scan("[a.b]\n[a]\nc = 1"), {("a",): 2, ("a", "b"): 1, ("a", "c"): 3})


@dataclass
class Writer:
    """Writes a document and keeps the lines on which it wrote the keys."""

    text: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self) -> int:
        """Return the line that is written next."""
        return self.text.count("\n") + 1


names = st.sampled_from(["a", "b", "c-d", "e.f", "", "ü", 'q"q', "[x]", "#", "1", "=", "\n", "'"])
blanks = st.sampled_from(["", " ", "\t "])
gaps = st.sampled_from(["", " ", "\n", " # ]}\"'=\n", "\n\n  "])
scalars = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "inf",
        "true",
        '"x"',
        '"\\" # ["',
        "'\\'",
        "''",
        '""',
        '"""\na = 1\n[b]\n"""',
        '"""x"""""',
        '"""\\""" """',
        '""""a"""',
        "'''\n#\n'''",
        "'''''a'''",
        "''''''",
        "1979-05-27",
        "07:32:00",
        "1979-05-27 07:32:00Z",
        '"""\\\n   b"""',
    ]
)


def write_key(draw: st.DrawFn, key: str) -> str:
    """Return a key in one of the ways to write it."""
    forms = [json.dumps(key, ensure_ascii=draw(st.booleans()))]
    if "'" not in key and "\n" not in key:
        forms.append(f"'{key}'")
    if key in ("a", "b", "c-d", "1"):
        forms.append(key)
    return draw(st.sampled_from(forms))


def write_value(draw: st.DrawFn, writer: Writer, path: KeyPath, depth: int) -> None:
    """Write a value of any kind."""
    kind = draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
    if kind == "scalar":
        writer.text += draw(scalars)
    elif kind == "array":
        writer.text += "["
        count = draw(st.integers(0, 3))
        for index in range(count):
            writer.text += draw(gaps)
            writer.lines[(*path, index)] = writer.line()
            write_value(draw, writer, (*path, index), depth - 1)
            writer.text += draw(gaps)
            writer.text += "," if index < count - 1 or draw(st.booleans()) else ""
        writer.text += draw(gaps) + "]"
    else:
        writer.text += "{" + draw(blanks)
        keys = draw(st.lists(names, unique=True, max_size=3))
        for index, key in enumerate(keys):
            writer.text += ", " if index else ""
            write_pair(draw, writer, path, key, depth)
        writer.text += draw(blanks) + "}"


def write_pair(draw: st.DrawFn, writer: Writer, path: KeyPath, key: str, depth: int) -> None:
    """Write a key, maybe a dotted one, and its value."""
    parts = [key, *draw(st.lists(names, max_size=2))]
    for count in range(1, len(parts) + 1):
        writer.lines[path + tuple(parts[:count])] = writer.line()
    dot = draw(blanks) + "." + draw(blanks)
    writer.text += dot.join(write_key(draw, part) for part in parts) + draw(blanks) + "=" + draw(blanks)
    write_value(draw, writer, path + tuple(parts), depth - 1)


def write_table(draw: st.DrawFn, writer: Writer, path: KeyPath, header: str, depth: int) -> None:
    """Write what stands under a header: pairs, then tables and arrays of tables."""
    keys = draw(st.lists(names, unique=True, max_size=4))
    pairs = draw(st.integers(0, len(keys)))
    for key in keys[:pairs]:
        writer.text += draw(gaps) + draw(blanks)
        write_pair(draw, writer, path, key, 3)
        writer.text += draw(blanks) + draw(st.sampled_from(["\n", " # a = 1\n"]))
    for key in keys[pairs:] if depth else []:
        below = f"{header}{draw(blanks)}.{draw(blanks)}" if header else ""
        below += write_key(draw, key)
        if draw(st.booleans()):
            writer.lines[(*path, key)] = writer.line()
            writer.text += f"[{draw(blanks)}{below}{draw(blanks)}]\n"
            write_table(draw, writer, (*path, key), below, depth - 1)
            continue
        writer.lines[(*path, key)] = writer.line()
        for index in range(draw(st.integers(1, 3))):
            writer.lines[(*path, key, index)] = writer.line()
            writer.text += f"[[{draw(blanks)}{below}{draw(blanks)}]]\n"
            write_table(draw, writer, (*path, key, index), below, depth - 1)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """Return a document with the lines of its keys."""
    writer = Writer()
    write_table(draw, writer, (), "", 3)
    return writer.text, writer.lines


def paths_of(value: object, path: KeyPath = ()) -> set[KeyPath]:
    """Return every key path in what ``tomllib`` gives."""
    found: set[KeyPath] = set()
    if isinstance(value, dict):
        found = found.union(*(paths_of(part, (*path, key)) | {(*path, key)} for key, part in value.items()))
    if isinstance(value, list):
        found = found.union(*(paths_of(part, (*path, at)) | {(*path, at)} for at, part in enumerate(value)))
    return found


class ScanProperties(SynchronousTestCase):
    """The scanner against ``tomllib``."""

    @given(documents())
    @settings(deadline=None, max_examples=300)
    def test_everyPathOfTomllibStandsOnTheLineOfItsKey(self, document: tuple[str, dict[KeyPath, int]]) -> None:
        """Every path that tomllib yields, and no other, has the line on which its key was written."""
        text, lines = document
        self.assertEqual(paths_of(tomllib.loads(text)), set(lines))
        self.assertEqual(scan(text), lines)
