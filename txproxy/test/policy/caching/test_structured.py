"""Dictionaries of Structured Field Values (RFC 8941 sections 3.2 and 4.2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.structured import OTHER, Value, parse_dictionary

_VALID: tuple[tuple[bytes, dict[bytes, Value]], ...] = (
    (b"", {}),
    (b"   ", {}),
    (b"a", {b"a": True}),
    (b" a ", {b"a": True}),
    (b"a=?1, b=?0", {b"a": True, b"b": False}),
    (b"a=1,b=-2 ,\tc=003", {b"a": 1, b"b": -2, b"c": 3}),
    (b"a=999999999999999", {b"a": 999999999999999}),
    (b"a=1.5, b=-0.125", {b"a": OTHER, b"b": OTHER}),
    (b"a=123456789012.123", {b"a": OTHER}),
    (b'a="", b="x, y=1", c="\\"\\\\"', {b"a": b"", b"b": b"x, y=1", b"c": b'"\\'}),
    (b"a=Token/1:x, b=*t, c=:aGk=:, d=::", {b"a": OTHER, b"b": OTHER, b"c": OTHER, b"d": OTHER}),
    (b'a=(), b=( 1  "x" tok;p=1 );q, c=(a b), d', {b"a": OTHER, b"b": OTHER, b"c": OTHER, b"d": True}),
    (b'a=1;x;y=2; z="q", b;p=?0', {b"a": 1, b"b": True}),
    (b"a=1, b, a=2", {b"a": 2, b"b": True}),
    (b"a, a=?0", {b"a": False}),
    (b"*a-b_c.d*1=1", {b"*a-b_c.d*1": 1}),
)

_INVALID = (
    b",", b"a,", b"a, ", b",a", b"a,,b", b"a b", b"A", b"aB", b"1", b"-a", b"a=", b"a =1", b"a= 1", b"a=1 2", b"a==1",
    b"a=1.", b"a=1.2345", b"a=.5", b"a=1234567890123.1", b"a=1234567890123456", b"a=-", b"a=--1", b"a=+1", b"a=1.2.3",
    b'a="', b'a="x', b'a="\\', b'a="\\n"', b'a="\xe9"', b'a="\t"', b'a="x"y', b"a='1'", b"a=?2", b"a=?", b"a=?10",
    b"a=:x", b"a=:!:", b"a=(", b"a=(1", b"a=(1 ", b'a=(1"x")', b"a=(1,2)", b"a=(1))", b"a=((1))", b"a=(;p)", b"a=1;",
    b"a=1;P", b"a=1;p=", b"a=1 ;p", b"a=1;p= 1", b"a;=1", b"\ta", b"a\t", b"a=\xff", b"a=@1", b"a=(@)",
)  # fmt: skip


class ParseDictionaryTests(SynchronousTestCase):
    """``parse_dictionary``"""

    def test_valid(self) -> None:
        for value, members in _VALID:
            found = parse_dictionary(value)
            # True is not 1 here.
            self.assertEqual(repr(found), repr(members), value)

    def test_invalid(self) -> None:
        for value in _INVALID:
            self.assertIsNone(parse_dictionary(value), value)

    @given(st.binary(max_size=60) | st.text(alphabet='ab1=?",;() \\:.-', max_size=60).map(str.encode))
    def test_anyBytes(self, value: bytes) -> None:
        parse_dictionary(value)
