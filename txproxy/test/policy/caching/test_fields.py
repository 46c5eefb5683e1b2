"""Fields by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.fields import FieldTable, has_field, joined, sole_value, values_of
from txproxy.wire.fields import Field

_FIELDS = [(b"Age", b"1"), (b"ETag", b""), (b"AGE", b"2, 3"), (b"Agee", b"4"), (b"Vary", b"a")]

# Name; all values, joined ones, the only one.
_ROWS: tuple[tuple[bytes, list[bytes], bytes | None, bytes | None], ...] = (
    (b"age", [b"1", b"2, 3"], b"1, 2, 3", None),
    (b"etag", [b""], b"", b""),
    (b"vary", [b"a"], b"a", b"a"),
    (b"date", [], None, None),
)


class FieldTests(SynchronousTestCase):
    """Names are found in any case."""

    def test_rows(self) -> None:
        for name, values, list_value, sole in _ROWS:
            self.assertEqual(values_of(_FIELDS, name), values, name)
            self.assertEqual(joined(_FIELDS, name), list_value, name)
            self.assertEqual(sole_value(_FIELDS, name), sole, name)
            self.assertEqual(has_field(_FIELDS, name), bool(values), name)


_names = st.sampled_from((b"age", b"Age", b"AGE", b"vary", b"Vary", b"etag"))


class FieldTableTests(SynchronousTestCase):
    """The short way says what the long way does."""

    @given(st.lists(st.tuples(_names, st.sampled_from((b"", b"1", b"2, 3", b","))), max_size=8))
    def test_theSameAsTheFunctions(self, fields: list[Field]) -> None:
        """Whatever is repeated, in whatever case."""
        table = FieldTable(fields)
        for name in (b"age", b"vary", b"etag", b"date"):
            self.assertEqual(table.joined(name), joined(fields, name))
            self.assertEqual(table.sole_value(name), sole_value(fields, name))
            self.assertEqual(table.has_field(name), has_field(fields, name))
