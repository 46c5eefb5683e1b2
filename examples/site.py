"""A site in Python: the same configuration as data, and a function that chooses a cluster for each request.

``txproxy run -c examples/site.py``. What the function raises is answered with 500, for that request alone.
"""

from __future__ import annotations

import os
from zlib import crc32

from txproxy.policy.facts import RequestFacts

BACKENDS = {"stable": 9001, "next": 9002, "mobile": 9003}
SHARE_OF_NEXT = float(os.environ.get("SHARE_OF_NEXT", "0.1"))


def choose(request: RequestFacts) -> str:
    """Return the cluster for a request: phones apart, and a steady share of the other clients tries what is next."""
    if "Mobile" in request.headers.get("User-Agent", ""):
        return "mobile"
    # The same client gets the same answer each time, and no state is kept for it.
    place = crc32(request.client.encode()) / 2**32
    return "next" if place < SHARE_OF_NEXT else "stable"


config = {
    "listener": [{"name": "web", "address": "0.0.0.0:8080"}],
    "route": [{"name": "everything", "choose": "site:choose"}],
    "cluster": {name: {"backends": [{"address": f"127.0.0.1:{port}"}]} for name, port in BACKENDS.items()},
}
