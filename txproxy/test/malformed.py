"""The table of malformed and borderline messages, with the verdict on each and what decides it.

Each case has a number, and each variant of it a name after a hyphen. The same table is run against the pure parser at
every split point and against the running proxy between a recording backend and a client.
"""

from __future__ import annotations

from .malformed_bodies import REQUEST_BODIES
from .malformed_case import ReplyCase, RequestCase, split_points
from .malformed_replies import REPLIES
from .malformed_requests import REQUEST_HEADS
from .malformed_targets import REQUEST_LINES

__all__ = ["CASES", "REPLIES", "REQUESTS", "ReplyCase", "RequestCase", "split_points"]

REQUESTS: tuple[RequestCase, ...] = REQUEST_HEADS + REQUEST_LINES + REQUEST_BODIES
"""What clients send: cases 1 to 61."""

CASES: tuple[RequestCase | ReplyCase, ...] = REQUESTS + REPLIES
"""All of them; ids are unique."""
