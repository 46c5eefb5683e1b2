"""What a balancing policy knows of a backend."""

from __future__ import annotations

from typing import Any


class Candidate:
    """One backend that may be sent a request, as policies see it. They read it and change nothing of it.

    :param name: its address as the configuration gives it; unique in its cluster.
    :param weight: its share of the requests, relative to the others'.
    :param owner: whoever made it: for the cluster, the backend itself.
    """

    __slots__ = ("active", "latency_at", "latency_s", "name", "owner", "weight")

    def __init__(self, name: str, weight: float = 1, owner: Any = None) -> None:
        self.name = name
        self.weight = weight
        """Less than the configuration says while the backend is being warmed up (slow start); always above 0."""
        self.active = 0
        """Requests that it was given and that have not ended: those that wait for a connection to it, too."""
        self.latency_s = 0.0
        """Moving average of the seconds from a request to the head of its reply; 0 before the first."""
        self.latency_at = 0.0
        """When ``latency_s`` was last changed, in seconds of the monotonic clock."""
        self.owner = owner

    def __repr__(self) -> str:
        return f"<Candidate {self.name} weight {self.weight:g}, {self.active} active>"
