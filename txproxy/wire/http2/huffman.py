"""The Huffman code of header strings (RFC 7541 section 5.2 and Appendix B), which hpack has in Python bit by bit.

Text is written by way of one large number in base 2, which ``int`` reads in linear time. It is read an octet at a time:
the bits that are left over after an octet are a state, and what an octet means in a state is worked out when it first
comes. There are 256 states of 256 octets, so that whatever peers send, this ends.
"""

from __future__ import annotations

from hpack import HPACKDecodingError
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from txproxy.wire.memory import Memory

_END_OF_STRING = 256
_CODES = [f"{code:0{length}b}" for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)]
_SYMBOLS = {code: symbol for symbol, code in enumerate(_CODES)}

_MOST_TEXTS = 2048
_MOST_TEXT_BYTES = 128
"""Of coded text. A browser's User-Agent has about 90; what is longer is a cookie as a rule, which few others send."""


class _State(dict[int, tuple["_State", bytes]]):
    """What each octet leads to while some bits are left over: the next state, and the text that is complete by then.

    :param rest: the bits that are left over, as ``0`` and ``1``.
    """

    __slots__ = ("_rest", "is_padding")

    def __init__(self, rest: str) -> None:
        super().__init__()
        self._rest = rest
        self.is_padding = len(rest) < 8 and "0" not in rest

    def __missing__(self, octet: int) -> tuple[_State, bytes]:
        text, rest = bytearray(), self._rest
        for bit in f"{octet:08b}":
            rest += bit
            symbol = _SYMBOLS.get(rest)
            if symbol == _END_OF_STRING:
                raise HPACKDecodingError("the end of a string within Huffman-coded text")
            if symbol is not None:
                text.append(symbol)
                rest = ""
        state = _states.get(rest)
        if state is None:
            state = _states[rest] = _State(rest)
        self[octet] = step = state, bytes(text)
        return step


_start = _State("")
_states = {"": _start}
_texts: Memory[bytes, bytes] = Memory(_MOST_TEXTS)
_recall = _texts.recall


def encode(text: bytes) -> bytes:
    """Return text in Huffman code, padded with ones.

    It takes about 25 ns an octet, ten times as long as to send it on loopback: for what repeats, or is short.
    """
    bits = "".join(map(_CODES.__getitem__, text))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def decode(coded: bytes) -> bytes:
    """Return the text that is meant.

    :raises HPACKDecodingError: if it holds the end of a string, or its padding is not ones or has more than 7 bits.
    """
    known = _recall(coded)
    if known is not None:
        return known
    state = _start
    parts = []
    for octet in coded:
        state, part = state[octet]
        parts.append(part)
    if not state.is_padding:
        raise HPACKDecodingError("padding of Huffman-coded text")
    text = b"".join(parts)
    if len(coded) <= _MOST_TEXT_BYTES:
        _texts.learn(coded, text)
    return text
