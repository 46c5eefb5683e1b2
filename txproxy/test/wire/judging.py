"""A second opinion on heads that we write: read with nothing but ``split``, as strictly as the grammar has it.

It shares no line with the parser that it judges.
"""

from __future__ import annotations

_DIGITS = "0123456789"
_TOKEN = set("!#$%&'*+-.^_`|~" + _DIGITS + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def judge_request(head: bytes) -> list[tuple[str, str]]:
    """Return the fields of a request's head.

    :raises AssertionError: for an illegal byte, no Host or more than one, or more than one statement of a length.
    """
    line, fields = _split(head)
    words = line.split(" ")
    assert len(words) == 3, line
    assert words[0], line
    assert set(words[0]) <= _TOKEN, line
    assert words[1], line
    assert all("!" <= character <= "~" for character in words[1]), line
    assert words[2] == "HTTP/1.1", line
    assert len([name for name, _ in fields if name.lower() == "host"]) == 1, fields
    _judge_framing(fields)
    return fields


def judge_reply(head: bytes) -> list[tuple[str, str]]:
    """Return the fields of a reply's head.

    :raises AssertionError: for an illegal byte, or more than one statement of a length.
    """
    line, fields = _split(head)
    version, status, _reason = line.split(" ", 2)
    assert version == "HTTP/1.1", line
    assert len(status) == 3, line
    assert set(status) <= set(_DIGITS), line
    assert status[0] != "0", line
    _judge_framing(fields)
    return fields


def _split(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    text = head.decode("latin-1")
    assert text.endswith("\r\n\r\n"), text
    lines = text[:-4].split("\r\n")
    for line in lines:
        bad = [character for character in line if (character < " " and character != "\t") or character == "\x7f"]
        assert not bad, line
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        assert colon, line
        assert name, line
        assert set(name) <= _TOKEN, line
        fields.append((name, value.strip(" \t")))
    return lines[0], fields


def _judge_framing(fields: list[tuple[str, str]]) -> None:
    lengths = [value for name, value in fields if name.lower() == "content-length"]
    codings = [value for name, value in fields if name.lower() == "transfer-encoding"]
    assert len(lengths) + len(codings) <= 1, fields
    assert all(value and set(value) <= set(_DIGITS) for value in lengths), fields
    assert all(value == "0" or value[0] != "0" for value in lengths), fields
    assert all(value == "chunked" for value in codings), fields
