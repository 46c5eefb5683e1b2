"""Where the keys of a TOML document stand: ``tomllib`` gives the values and this module gives the lines.

The scanner takes it for granted that ``tomllib`` has accepted the text, so it only has to find its way through
(TOML 1.0; line breaks and a last comma in inline tables, as in TOML 1.1, do not confuse it).
"""

from __future__ import annotations

import re
import tomllib

from txproxy.config.problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}#\n]*")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!"")|"(?="""))*"""', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!'')|'(?='''))*'''", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
"""Multi-line before single-line. Up to two quotes may stand right before the closing three (TOML 1.0, "String")."""


def scan(text: str) -> dict[KeyPath, int]:
    """Return the line of every key and array element of a document that ``tomllib`` accepts.

    A table that is never written out, such as ``a`` of ``[a.b]``, stands where its key is first named; the element of
    an array of tables stands at its header.

    :param text: the document, with any line ends that TOML allows.
    :return: lines, counted from 1, by key path.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_at = 0
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._key_and_value(table)
            self._skip(_BLANK)
        return self._lines

    def _header(self) -> KeyPath:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        parts = self._key()
        for part, line in parts[:-1]:
            path = self._last_element((*path, part), line)
        part, line = parts[-1]
        path = (*path, part)
        if is_array:
            self._lines.setdefault(path, line)
            index = self._arrays.get(path, 0)
            self._arrays[path] = index + 1
            path = (*path, index)
        self._lines[path] = line
        self._at += 2 if is_array else 1
        return path

    def _last_element(self, path: KeyPath, line: int) -> KeyPath:
        """Return the table that a key in a header names: of an array of tables, the element defined last."""
        self._lines.setdefault(path, line)
        count = self._arrays.get(path)
        return path if count is None else (*path, count - 1)

    def _key_and_value(self, table: KeyPath) -> None:
        path = table
        parts = self._key()
        for part, line in parts[:-1]:
            path = (*path, part)
            self._lines.setdefault(path, line)
        part, line = parts[-1]
        path = (*path, part)
        self._lines[path] = line
        self._at += 1
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[tuple[str, int]]:
        """Read a key up to the sign behind it; return its parts with their lines."""
        parts = []
        while True:
            self._skip(_SPACE)
            line = self._line_number()
            if self._text[self._at] in "\"'":
                token = self._string()
                parts.append((tomllib.loads(f"key = {token}")["key"], line))
            else:
                parts.append((self._take(_BARE), line))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        sign = self._text[self._at]
        if sign == "[":
            self._array(path)
        elif sign == "{":
            self._inline_table(path)
        elif sign in "\"'":
            self._string()
        else:
            self._take(_PLAIN_VALUE)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while not self._at_end("]"):
            self._lines[(*path, index)] = self._line_number()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while not self._at_end("}"):
            self._key_and_value(path)

    def _at_end(self, closing: str) -> bool:
        """Go to the next element; if there is none, go past the closing bracket and return True."""
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)
        if not self._text.startswith(closing, self._at):
            return False
        self._at += 1
        return True

    def _string(self) -> str:
        for pattern in _STRINGS:
            match = pattern.match(self._text, self._at)
            if match:
                self._at = match.end()
                return match[0]
        raise ValueError("not a string of TOML")

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("not a document of TOML")
        self._at = match.end()
        return match[0]

    def _line_number(self) -> int:
        # Counted on from the last place asked for: from the start of the text each time would be quadratic.
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        return self._line
