"""Parsers that remember: a head that came before, byte for byte, is not understood anew.

Clients poll, browsers repeat themselves and backends send the same fields for a second at a time. What is remembered is
the model, which nobody changes in place. A head is remembered when it comes for the second time, so that heads that
never repeat cost one look-up and fill no memory; both memories are bounded (see ``memory``).
"""

from __future__ import annotations

from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.h1 import parse_reply_head, parse_request_head
from txproxy.wire.limits import HeadLimits
from txproxy.wire.memory import Memory
from txproxy.wire.messages import ReplyHead, RequestHead

MOST_HEADS = 512
"""Heads that one parser remembers."""
MOST_HEAD_BYTES = 1024
"""Longer ones are not remembered."""


class RequestParser:
    """Understands the request heads of one listener.

    :param tokenizer: for field sections.
    :param limits: what a head may hold.
    """

    def __init__(self, tokenizer: FieldTokenizer, limits: HeadLimits) -> None:
        self.tokenizer = tokenizer
        self.limits = limits
        self._memory: Memory[bytes, RequestHead] = Memory(MOST_HEADS)
        self._recall = self._memory.recall

    def parse(self, head: bytes) -> RequestHead:
        """Understand one request head; see ``h1.parse_request_head`` for what is raised.

        :return: a model that others may hold too: it must not be changed.
        """
        request = self._recall(head)
        if request is None:
            request = parse_request_head(head, self.tokenizer, self.limits)
            if len(head) <= MOST_HEAD_BYTES:
                self._memory.learn(head, request)
        return request


class ReplyParser:
    """Understands the reply heads of backends.

    :param tokenizer: for field sections.
    """

    def __init__(self, tokenizer: FieldTokenizer) -> None:
        self.tokenizer = tokenizer
        self._memory: Memory[bytes, ReplyHead] = Memory(MOST_HEADS)
        self._recall = self._memory.recall

    def parse(self, head: bytes, method: bytes) -> ReplyHead:
        """Understand one reply head; see ``h1.parse_reply_head`` for what is raised.

        :return: a model that others may hold too: it must not be changed, but may be copied.
        """
        if method == b"HEAD":  # The same bytes mean another length.
            return parse_reply_head(head, self.tokenizer, method)
        reply = self._recall(head)
        if reply is None:
            reply = parse_reply_head(head, self.tokenizer, method)
            if len(head) <= MOST_HEAD_BYTES:
                self._memory.learn(head, reply)
        return reply
