"""A worker's end of the connection to its supervisor: what is said there, as calls of the worker."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txproxy.supervisor import messages
from txproxy.supervisor.memory import Order, verdict_of
from txproxy.supervisor.messages import Channel, names


class WorkerChannel(Channel):
    """A worker's end of the connection.

    :param worker: whose: a ``Worker``.
    """

    understood = names(
        messages.Stop,
        messages.CutShort,
        messages.ReopenLogs,
        messages.ReloadCertificates,
        messages.Take,
        messages.Reload,
        messages.SetChecking,
        messages.Heard,
        messages.Carry,
        messages.Purge,
        messages.Report,
        messages.SetLevel,
    )

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self._worker = worker

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``Protocol``."""
        super().connectionLost(reason)
        self._worker.left_alone()

    @messages.Stop.responder
    def stop(self) -> dict[str, Any]:
        """See the message; likewise the others."""
        self._worker.stop()
        return {}

    @messages.CutShort.responder
    def cut_short(self) -> dict[str, Any]:
        """See the message."""
        self._worker.service.cut_short()
        return {}

    @messages.ReopenLogs.responder
    def reopen_logs(self) -> dict[str, Any]:
        """See the message."""
        self._worker.service.reopen_logs()
        return {}

    @messages.ReloadCertificates.responder
    def reload_certificates(self) -> dict[str, Any]:
        """See the message."""
        self._worker.service.reload_certificates()
        return {}

    @messages.Take.responder
    def take(self, address: str, socket: int) -> dict[str, Any]:
        """See the message."""
        self._worker.take(address, socket)
        return {}

    @messages.Reload.responder
    def reload(self, workers: int) -> dict[str, Any]:
        """See the message."""
        return {"errors": self._worker.reload(workers)}

    @messages.SetChecking.responder
    def set_checking(self, on: bool) -> dict[str, Any]:
        """See the message."""
        self._worker.set_checking(on)
        return {}

    @messages.Heard.responder
    def heard(self, verdict: object) -> dict[str, Any]:
        """See the message."""
        found = verdict_of(verdict)
        if found is not None:
            self._worker.heard(found)
        return {}

    @messages.Carry.responder
    def carry(self, order: Any) -> dict[str, Any]:
        """See the message."""
        cluster, call, arguments = order
        self._worker.carry(Order(cluster, call, tuple(arguments)))
        return {}

    @messages.Purge.responder
    def purge(self, kind: str, values: Any) -> Any:
        """See the message."""
        counted = self._worker.purge(kind, [value.encode("latin-1") for value in values])
        return counted.addCallback(lambda count: {"count": count})

    @messages.SetLevel.responder
    def set_level(self, level: str) -> dict[str, Any]:
        """See the message."""
        self._worker.set_level(level)
        return {}

    @messages.Report.responder
    def report(self) -> dict[str, Any]:
        """See the message."""
        return {"report": self._worker.report()}

    def __repr__(self) -> str:
        return "the supervisor"
