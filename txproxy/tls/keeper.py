"""Keeps the certificates of one section: reads them, watches their files, says when they end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txproxy.config.model import Certificate, TlsSettings
from txproxy.config.problems import ConfigError, Problem, quoted
from txproxy.observe.counters import TlsCounters
from txproxy.observe.log import Logger
from txproxy.tls.certificate_expiry import Reminders, shown_span
from txproxy.tls.certificate_files import Stamp, is_settled
from txproxy.tls.certificate_log import SectionLog
from txproxy.tls.certificate_look import LookedAt, SeenAuthorities, SeenPair, look
from txproxy.tls.certificate_rules import shown_time
from txproxy.tls.certificates import Authorities, CertificateError, Inspection, Pair, inspect_pair, load_authorities

log = Logger()

OnChange = Callable[[tuple[Pair, ...], bytes], None]
"""Told of the pairs that are served from now on, and of the authorities of clients in PEM; ValueError: refused."""

_REMIND_EVERY_S = 10.0
"""Between two comparisons with the next end of a certificate."""
_MOST_LINES = 10
"""Of the log at once, for a thousand certificates may be replaced or end together, and requests wait meanwhile."""
_PAUSE_S = 0.0005
_NEVER = float("inf")


class KeeperTools(NamedTuple):
    """Where a keeper has time and threads from."""

    reactor: Any
    """Provides IReactorTime."""
    wall_clock: Callable[[], float]
    """Seconds since 1970."""
    in_thread: Callable[[Callable[[], LookedAt]], Deferred[LookedAt]]
    """Calls a function elsewhere, as ``deferToThread`` does."""
    counts: TlsCounters
    pause: Callable[[], None] = lambda: time.sleep(_PAUSE_S)
    """Waits a moment in a thread."""


class _Slot:
    """One pair of the configuration."""

    __slots__ = ("candidate", "complaint", "next_at", "pair", "reminders", "retry_at", "seen")

    def __init__(self, files: Certificate) -> None:
        self.seen = SeenPair(files, None)
        """As its files were when they were read last."""
        self.pair: Pair | None = None
        """What is served; None: nothing could be used yet."""
        self.candidate: Pair | None = None
        """What will be served once it is accepted."""
        self.complaint = ""
        """What was said of them last, so that it is said once; empty: all is well."""
        self.retry_at: float | None = None
        """When files that were refused will be right by themselves, in seconds since 1970."""
        self.reminders: Reminders | None = None
        self.next_at = _NEVER
        """When there is something to do for it next; see ``plan``."""

    @property
    def file(self) -> str:
        """The name of its chain, for messages."""
        return quoted(self.seen.files.chain)

    def note(self, stamp: Stamp | None) -> None:
        """Remember when its files were read; None: they are to be read again."""
        self.seen = self.seen._replace(stamp=stamp)

    def plan(self) -> None:
        """Find out when there is something to do for it next."""
        reminder_at = _NEVER if self.reminders is None else self.reminders.next_at
        self.next_at = reminder_at if self.retry_at is None else min(reminder_at, self.retry_at)


class Keeper:
    """The certificates of one ``[tls.NAME]`` section.

    Files are read in a thread; what they mean is decided, and told, in the reactor.

    :param name: of the section.
    :param settings: see there.
    :param tools: see there.
    """

    def __init__(self, name: str, settings: TlsSettings, tools: KeeperTools) -> None:
        self.name = name
        self.client_ca = b""
        """Certificates of the authorities of clients, in PEM; empty: none."""
        self._settings = settings
        self._tools = tools
        self._slots = [_Slot(files) for files in settings.certificates]
        self._ca_stamp: Stamp | None = None
        self._ca_complaint = ""
        self._ca_candidate: Authorities | None = None
        self._on_change: OnChange | None = None
        self._is_looking = False
        self._is_wanted_again = False
        self._has_offer = False
        """Whether there is a candidate that nobody was told of."""
        self._next_at = float("-inf")
        """When a slot has something to do next, in seconds since 1970."""
        self._trouble = ""
        self._log = SectionLog(name)
        self._looks = self._loop(self.look)
        self._reminders = self._loop(self._remind)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that are served, in the order of the configuration; some may have expired meanwhile."""
        return tuple(slot.pair for slot in self._slots if slot.pair is not None)

    def move_to(self, tools: KeeperTools) -> None:
        """Go on in the process that this one was copied to by a fork, with what has been read.

        :param tools: of that process.
        """
        self._tools = tools
        self._looks.clock = self._reminders.clock = tools.reactor

    def expiries(self) -> list[tuple[str, float]]:
        """Return for each pair that is served its file and when it ends, in seconds since 1970."""
        return [(pair.source.chain, pair.not_after) for pair in self.pairs]

    def load(self) -> tuple[Pair, ...]:
        """Read everything for the first time, at once; a pair that cannot be used is said, counted and left out.

        :return: the pairs that are served; at least one.
        :raises ConfigError: none can be used, or the authorities of clients cannot be read.
        """
        now = self._tools.wall_clock()
        if self._settings.client_ca:
            try:
                authorities = load_authorities(self._settings.client_ca, now)
            except CertificateError as error:
                raise self._config_error("client_ca", error.text) from None
            self._warn(authorities.warnings)
            self.client_ca = authorities.pem
            self._ca_stamp = authorities.stamp if is_settled(authorities.stamp, now) else None
        for slot in self._slots:
            found = inspect_pair(slot.seen.files, now)
            slot.note(found.stamp if is_settled(found.stamp, now) else None)
            if found.pair is None:
                self._tools.counts.refused_pairs += 1
                self._refuse(slot, found, now)
            else:
                slot.pair = found.pair
                self._warn(found.pair.warnings)
        if not self.pairs:
            reasons = "; ".join(dict.fromkeys(slot.complaint for slot in self._slots))
            raise self._config_error("certificates", f"none of them can be used: {reasons}")
        for slot in self._slots:
            if slot.pair is not None:
                slot.reminders = Reminders(slot.pair.not_before, slot.pair.not_after)
            slot.plan()
        self._remind()
        return self.pairs

    def start(self, on_change: OnChange) -> None:
        """Watch the files from now on.

        :param on_change: told when other pairs or authorities are to be served.
        """
        self._on_change = on_change
        interval_s = self._settings.reload_interval_s
        if interval_s:
            self._looks.start(interval_s, now=False).addErrback(self._failed)
        self._reminders.start(_REMIND_EVERY_S, now=False).addErrback(self._failed)

    def stop(self) -> None:
        """Watch no more; nothing is left in the reactor, and what a thread still finds is ignored."""
        self._on_change = None
        for loop in (self._looks, self._reminders):
            if loop.running:
                loop.stop()

    def reload(self) -> None:
        """Read all files anew, whether they have changed or not, and say what is wrong with them, if once more."""
        for slot in self._slots:
            slot.note(None)
            slot.complaint = ""
        self._ca_stamp, self._ca_complaint = None, ""
        self.look()

    def look(self) -> None:
        """See whether files have changed. While a look is under way there is no second one, but one after it."""
        if self._on_change is None:
            return
        if self._is_looking:
            self._is_wanted_again = True
            return
        self._is_looking = True
        pairs = tuple([slot.seen for slot in self._slots])
        authorities = SeenAuthorities(self._settings.client_ca, self._ca_stamp)
        now, pause = self._tools.wall_clock(), self._tools.pause
        looked = maybeDeferred(self._tools.in_thread, lambda: look(pairs, authorities, now, pause))
        looked.addCallback(self._looked).addErrback(self._failed).addBoth(self._look_ended)

    # What a look has found.

    def _looked(self, found: LookedAt) -> None:
        if self._on_change is None:
            return  # It was stopped meanwhile.
        with self._log.at_most(_MOST_LINES):
            self._take_all(found)
            if self._has_offer:
                self._offer(self._on_change)
        self._trouble = ""

    def _take_all(self, found: LookedAt) -> None:
        now = self._tools.wall_clock()
        for position, inspection in found.pairs.items():
            slot = self._slots[position]
            slot.note(None if position in found.unsettled else inspection.stamp)
            if inspection.pair is None:
                self._tools.counts.failed_reloads += self._refuse(slot, inspection, now)
            else:
                self._take(slot, inspection.pair)
            slot.plan()
        if found.authorities is not None:
            self._ca_stamp = found.authorities_stamp if found.are_authorities_settled else None
            self._take_authorities(found.authorities)

    def _take(self, slot: _Slot, pair: Pair) -> None:
        slot.retry_at = None
        if slot.pair is not None and pair.digest == slot.pair.digest:
            slot.candidate = None
            if slot.complaint:
                self._log.info(f"{slot.file} is as it was")
            slot.complaint = ""
        elif slot.candidate is None or pair.digest != slot.candidate.digest:
            slot.candidate = pair
            self._has_offer = True

    def _take_authorities(self, found: Authorities | CertificateError) -> None:
        if isinstance(found, CertificateError):
            if found.text != self._ca_complaint:
                self._ca_complaint = found.text
                self._tools.counts.failed_reloads += 1
                self._log.error(f"client_ca is refused and the one before is kept: {found.text}")
            return
        self._ca_complaint = ""
        if found.pem == self.client_ca:
            self._ca_candidate = None
        elif self._ca_candidate is None or found.pem != self._ca_candidate.pem:
            self._ca_candidate = found
            self._has_offer = True

    def _offer(self, on_change: OnChange) -> None:
        chosen = (slot.candidate or slot.pair for slot in self._slots)
        authorities = self._ca_candidate
        client_ca = self.client_ca if authorities is None else authorities.pem
        try:
            on_change(tuple(pair for pair in chosen if pair is not None), client_ca)
        except ValueError as error:
            # The candidates stay: with the next change of a file they are offered again.
            self._has_offer = False
            self._tools.counts.failed_reloads += 1
            self._log.error(f"changed certificates are refused and those before are kept: {error}")
            return
        self._has_offer = False
        self._tools.counts.reloads += 1
        self.client_ca, self._ca_candidate = client_ca, None
        if authorities is not None:
            number, file = len(authorities.certificates), quoted(self._settings.client_ca)
            self._log.info(f"reloaded client_ca with {number} authorities from {file}")
            self._warn(authorities.warnings)
        for slot in self._slots:
            if slot.candidate is not None:
                self._adopt(slot, slot.candidate)
        self._next_at = float("-inf")
        self._remind()

    def _adopt(self, slot: _Slot, pair: Pair) -> None:
        slot.pair, slot.candidate, slot.complaint = pair, None, ""
        slot.reminders = Reminders(pair.not_before, pair.not_after)
        slot.plan()
        self._log.info(lambda: f"reloaded the certificate of {pair.summary}")
        self._warn(pair.warnings)

    def _refuse(self, slot: _Slot, found: Inspection, now: float) -> bool:
        """Say why files cannot be used, unless that was said already; return whether it was said now."""
        moments = [each.retry_at for each in found.errors]
        later = [moment for moment in moments if moment is not None]
        slot.retry_at = max(later) if len(later) == len(moments) else None
        self._next_at = float("-inf")
        complaint = "; ".join(each.text for each in found.errors)
        if complaint == slot.complaint:
            return False
        slot.complaint = complaint
        slot.candidate = None
        is_kept = slot.pair is not None and now <= slot.pair.not_after
        kept = " and the certificate before is kept" if is_kept else ""
        self._log.error(lambda: f"{slot.file} is refused{kept}: {complaint}")
        return True

    def _failed(self, failure: Failure) -> None:
        trouble = failure.getErrorMessage()
        if self._on_change is not None and trouble != self._trouble:
            self._trouble = trouble
            log.failure("tls.{section}: looking at the files of certificates failed", failure, section=self.name)

    def _look_ended(self, _result: object) -> None:
        self._is_looking = False
        if self._is_wanted_again:
            self._is_wanted_again = False
            self.look()

    # What comes with time.

    def _remind(self) -> None:
        now = self._tools.wall_clock()
        if now < self._next_at:
            return
        has_become_right = False
        said = 0
        for slot in self._slots:
            if now < slot.next_at:
                continue
            if slot.retry_at is not None and now >= slot.retry_at:
                slot.retry_at, has_become_right = None, True
                slot.note(None)
            if slot.pair is not None and slot.reminders is not None and said < _MOST_LINES:
                said += self._say(slot.reminders.due(now), slot.pair, now)
            slot.plan()
        # Who was not reminded of now is in the past, and has its turn the next time.
        self._next_at = min([slot.next_at for slot in self._slots])
        if has_become_right:
            self.look()

    def _say(self, what: str, pair: Pair, now: float) -> bool:
        whose = f"the certificate of {pair.title} ({quoted(pair.source.chain)})"
        if what == "over":
            self._log.error(f"{whose} has expired and is refused from now on")
        elif what == "soon":
            left = shown_span(pair.not_after - now)
            self._log.warn(f"{whose} expires in {left}, on {shown_time(pair.not_after)}")
        self._tools.counts.expiry_warnings += bool(what)
        return bool(what)

    def _warn(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            self._log.warn(warning)

    def _loop(self, function: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(function)
        loop.clock = self._tools.reactor
        return loop

    def _config_error(self, key: str, text: str) -> ConfigError:
        return ConfigError((Problem("configuration", 0, f"tls.{self.name}.{key}", text),))
