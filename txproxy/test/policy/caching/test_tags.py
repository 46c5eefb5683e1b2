"""Tags by which replies are purged."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.fields import FieldTable
from txproxy.policy.caching.tags import MOST_TAG_BYTES, MOST_TAGS, tags_of
from txproxy.test.policy.caching.heads import reply_of
from txproxy.wire.fields import Field

_S, _C = b"Surrogate-Key", b"Cache-Tag"
_CASES: list[tuple[str, list[Field], tuple[bytes, ...] | None]] = [
    ("none", [], ()),
    ("spaces between", [(_S, b"a b  c")], (b"a", b"b", b"c")),
    ("a tab between", [(_S, b"a\tb")], (b"a", b"b")),
    ("commas are part of a key", [(_S, b"a,b c")], (b"a,b", b"c")),
    ("commas between", [(_C, b"a,b ,\tc")], (b"a", b"b", b"c")),
    ("spaces are part of a tag", [(_C, b"a b, c")], (b"a b", b"c")),
    ("several fields", [(_S, b"a b"), (b"surrogate-key", b"c")], (b"a", b"b", b"c")),
    ("both, each once", [(_C, b"b, a"), (_S, b"a c")], (b"a", b"c", b"b")),
    ("case matters", [(_C, b"a,A")], (b"a", b"A")),
    ("empty ones are none", [(_C, b", ,"), (_S, b"")], ()),
    ("as many as may be", [(_S, b" ".join(b"%d" % n for n in range(MOST_TAGS)))], tuple(b"%d" % n for n in range(MOST_TAGS))),
    ("one more", [(_S, b" ".join(b"%d" % n for n in range(MOST_TAGS))), (_C, b"x")], None),
    ("as long as may be", [(_C, b"a" * MOST_TAG_BYTES)], (b"a" * MOST_TAG_BYTES,)),
    ("longer", [(_C, b"b," + b"a" * (MOST_TAG_BYTES + 1))], None),
]  # fmt: skip


class TagsTests(SynchronousTestCase):
    """What a reply says."""

    def test_cases(self) -> None:
        for says, fields, expected in _CASES:
            reply = reply_of(*fields)
            self.assertEqual(tags_of(reply), expected, says)
            self.assertEqual(tags_of(reply, FieldTable(reply.fields)), expected, says)
