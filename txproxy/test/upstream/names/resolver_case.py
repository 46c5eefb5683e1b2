"""What tests of the resolver have in common."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.upstream.names.name_reactor import NameReactor
from txproxy.upstream.names.resolver import Answer, ResolveFailed, Resolver


class ResolverCase(SynchronousTestCase):
    """A resolver whose files a test writes, and name servers on a reactor without sockets."""

    def setUp(self) -> None:
        self.reactor = NameReactor()
        directory = self.mktemp()
        os.mkdir(directory)
        self.conf_path, self.hosts_path = os.path.join(directory, "resolv.conf"), os.path.join(directory, "hosts")
        self.resolver = Resolver(self.reactor, self.conf_path, self.hosts_path)

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.open_ports, [], "a socket was left open")
        self.assertEqual(self.reactor.getDelayedCalls(), [], "a timer was left in the reactor")

    def write(self, path: str, text: str) -> None:
        with open(path + ".new", "w") as file:
            file.write(text)
        os.replace(path + ".new", path)

    def conf(self, *lines: str) -> None:
        self.write(self.conf_path, "\n".join(lines))

    def resolve(self, name: str, seconds: float = 0) -> Answer:
        """Return the answer that is there after so much time."""
        asked = self.resolver.resolve(name)
        self.reactor.turn(seconds)
        return self.successResultOf(asked)

    def reason(self, name: str, seconds: float = 0) -> str:
        """Return why a name cannot be resolved."""
        asked = self.resolver.resolve(name)
        self.reactor.turn(seconds)
        return self.failureResultOf(asked, ResolveFailed).value.reason
