"""Fakes for tests of proxies, of stages and of the functions that a site brings: only sockets and the clock are fake.

``Dialogue`` assembles a configuration as the service does and lets a test speak for its clients and its backends, so
that the test reads like a packet trace::

    dialogue = Dialogue.of(self, site())
    client = dialogue.client()
    client.says(b"GET / HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n")
    backend = dialogue.backend()
    self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
    backend.says(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    self.assertEqual(client.gets_head().line, b"HTTP/1.1 200 OK")
    self.assertEqual(client.gets(), b"ok")
"""

from txproxy.testing.dialogue import Dialogue, site, tcp_site
from txproxy.testing.http2 import ClientStream, Http2Client
from txproxy.testing.peer import Head, Peer
from txproxy.testing.scripted import CLOSE, REFUSE, RESET, SILENT, ScriptedBackend
from txproxy.testing.transport import FakePort, FakeTransport

__all__ = [
    "CLOSE",
    "REFUSE",
    "RESET",
    "SILENT",
    "ClientStream",
    "Dialogue",
    "FakePort",
    "FakeTransport",
    "Head",
    "Http2Client",
    "Peer",
    "ScriptedBackend",
    "site",
    "tcp_site",
]
