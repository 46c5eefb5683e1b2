"""W3C Trace Context."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.trace_context import TraceParent, parse_traceparent, take_traceparent

_TRACE, _SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
_VALID = b"00-" + _TRACE + b"-" + _SPAN + b"-01"


class ParseTests(SynchronousTestCase):
    """Which values are valid."""

    def test_valid(self) -> None:
        """Ids and the flag; other flags mean nothing, and later versions may have more."""
        for value, is_sampled in (
            (_VALID, True),
            (_VALID[:-2] + b"00", False),
            (_VALID[:-2] + b"fe", False),
            (_VALID[:-2] + b"03", True),
            (b"cc" + _VALID[2:], True),
            (b"cc" + _VALID[2:] + b"-what-ever", True),
        ):
            self.assertEqual(parse_traceparent(value), TraceParent(_TRACE, _SPAN, is_sampled), value)

    def test_notValid(self) -> None:
        """What is not in the form, or has ids of zeros, is no traceparent."""
        for value in (
            b"",
            _VALID[:-1],
            _VALID + b"-x",
            _VALID + b"0",
            _VALID.upper(),
            b"ff" + _VALID[2:],
            b"cc" + _VALID[2:] + b"x",
            b"00-" + b"0" * 32 + b"-" + _SPAN + b"-01",
            b"00-" + _TRACE + b"-" + b"0" * 16 + b"-01",
            _VALID.replace(b"f", b"g"),
            b" " + _VALID,
            _VALID + b"\n",
            _VALID.replace(b"-", b"_"),
        ):
            self.assertIsNone(parse_traceparent(value), value)

    @given(st.binary(max_size=80))
    def test_anything(self, value: bytes) -> None:
        """Whatever comes is read, or it is not."""
        found = parse_traceparent(value)
        if found is not None and value.startswith(b"00"):
            self.assertEqual(found.write()[:-2], value[:-2])

    def test_written(self) -> None:
        """What is written can be read."""
        for is_sampled in (True, False):
            parent = TraceParent(_TRACE, _SPAN, is_sampled)
            self.assertEqual(parse_traceparent(parent.write()), parent)


class TakeTests(SynchronousTestCase):
    """Finding it among the fields of a request."""

    def test_taken(self) -> None:
        """It is taken out, whatever its case; tracestate stays where it stands."""
        fields = [(b"A", b"1"), (b"TraceParent", _VALID), (b"Tracestate", b"x=1"), (b"tracestate", b"y=2")]
        parent, kept = take_traceparent(fields)
        self.assertEqual((parent, kept), (parse_traceparent(_VALID), [fields[0], *fields[2:]]))

    def test_notTaken(self) -> None:
        """Without a valid one, or with two, tracestate says nothing either."""
        for values in ([], [b"x"], [_VALID, _VALID], [_VALID, b"x"]):
            fields = [*((b"traceparent", value) for value in values), (b"TRACESTATE", b"x=1"), (b"B", b"2")]
            self.assertEqual(take_traceparent(fields), (None, [(b"B", b"2")]))
