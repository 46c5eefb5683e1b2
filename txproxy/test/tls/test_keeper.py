"""Keeping certificates: the first reading, files that change, and time that passes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Certificate, TlsSettings
from txproxy.config.problems import ConfigError
from txproxy.observe.counters import TlsCounters
from txproxy.test.authority import Authority
from txproxy.test.tls.pair_files import PairFiles
from txproxy.tls.certificate_files import FileStamp, is_settled
from txproxy.tls.certificate_look import LookedAt, SeenAuthorities, SeenPair, look
from txproxy.tls.certificates import Pair
from txproxy.tls.keeper import Keeper, KeeperTools

AUTHORITY = Authority()
DAY_S = 86400.0
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


class Thread:
    """Stands for the thread pool: what is to be done in a thread waits until the test lets it run."""

    def __init__(self) -> None:
        self.is_slow = False
        self.waiting: list[tuple[Callable[[], LookedAt], Deferred[LookedAt]]] = []
        self.started = 0
        self.read: list[set[int]] = []
        """Positions of the pairs that each look has read."""
        self.failure: Exception | None = None

    def __call__(self, function: Callable[[], LookedAt]) -> Deferred[LookedAt]:
        self.started += 1
        if self.failure is not None:
            return fail(self.failure)
        done: Deferred[LookedAt] = Deferred()
        self.waiting.append((function, done))
        if not self.is_slow:
            self.run()
        return done

    def run(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for function, done in waiting:
            found = function()
            self.read.append(set(found.pairs))
            done.callback(found)


class KeeperCase(SynchronousTestCase):
    """Tests of a keeper whose clocks and thread are the test's."""

    def setUp(self) -> None:
        self.files = PairFiles(self)
        self.clock = Clock()
        # So far ahead no file is so new that it is read again for that reason alone.
        self.began_at = time.time() + 1000
        self.thread = Thread()
        self.counts = TlsCounters()
        self.served: list[tuple[tuple[Pair, ...], bytes]] = []
        self.refusal: Exception | None = None
        self.lines: list[str] = []

        def note(event: LogEvent) -> None:
            text = self.files.without_folder(formatEvent(event))
            self.lines.append(f"{event['log_level'].name}: {_TIME.sub('TIME', text)}")

        observe: Any = note
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def now(self) -> float:
        return self.began_at + self.clock.seconds()

    def keeper(self, *certificates: Certificate, **settings: Any) -> Keeper:
        tools = KeeperTools(self.clock, self.now, self.thread, self.counts, lambda: None)
        keeper = Keeper("main", TlsSettings(certificates=certificates, **settings), tools)
        self.addCleanup(self.assert_clean, keeper)
        return keeper

    def started(self, *certificates: Certificate, **settings: Any) -> Keeper:
        """Return a keeper that has loaded and watches; what it said meanwhile is forgotten."""
        keeper = self.keeper(*certificates, **settings)
        keeper.load()
        keeper.start(self.on_change)
        self.lines.clear()
        return keeper

    def on_change(self, pairs: tuple[Pair, ...], client_ca: bytes) -> None:
        self.served.append((pairs, client_ca))
        if self.refusal is not None:
            raise self.refusal

    def said(self) -> list[str]:
        """Return what was said since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def assert_clean(self, keeper: Keeper) -> None:
        keeper.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def names(self) -> list[tuple[str, ...]]:
        """Return the names of what is served after the last change."""
        return [pair.names for pair in self.served[-1][0]]


class LoadTests(KeeperCase):
    """The first reading."""

    def test_allGood(self) -> None:
        """All pairs are there in their order, and nothing is said of them."""
        first, second = AUTHORITY.identity("a.test", ends_in_days=100), AUTHORITY.identity("b.test", ends_in_days=100)
        keeper = self.keeper(self.files.pair(first), self.files.pair(second, "b"))
        self.assertEqual([pair.names for pair in keeper.load()], [("a.test",), ("b.test",)])
        self.assertEqual([pair.names for pair in keeper.pairs], [("a.test",), ("b.test",)])
        self.assertEqual((self.said(), keeper.client_ca), ([], b""))

    def test_someBad(self) -> None:
        """D16: one that cannot be used is told with its file and counted; the others serve."""
        expired = self.files.pair(AUTHORITY.identity("a.test", ends_in_days=-1))
        other_key = self.files.pair(AUTHORITY.identity("b.test", ends_in_days=100), "b")
        self.files.write("b.key", AUTHORITY.identity().key)
        good = self.files.pair(AUTHORITY.identity("c.test", ends_in_days=100), "c")
        keeper = self.keeper(expired, other_key, good)
        self.assertEqual([pair.names for pair in keeper.load()], [("c.test",)])
        self.assertEqual(
            self.said(),
            [
                'error: tls.main: "a.pem" is refused: the certificate in "a.pem" expired on TIME (renew it)',
                'error: tls.main: "b.pem" is refused: the key in "b.key" is not that of the certificate in "b.pem" '
                "(were both replaced?)",
            ],
        )
        self.assertEqual(self.counts.refused_pairs, 2)

    def test_noneUsable(self) -> None:
        """Without any certificate there is no start, and the reasons are told in a line."""
        expired = self.files.pair(AUTHORITY.identity("a.test", ends_in_days=-1))
        missing = Certificate(chain="/none.pem", key=expired.key)
        error = self.assertRaises(ConfigError, self.keeper(expired, missing).load)
        (problem,) = error.problems
        self.assertEqual(problem.path, "tls.main.certificates")
        text = _TIME.sub("TIME", self.files.without_folder(problem.message))
        self.assertEqual(
            text,
            'none of them can be used: the certificate in "a.pem" expired on TIME (renew it); '
            'cannot read "/none.pem": No such file or directory',
        )

    def test_authorities(self) -> None:
        """They are there in PEM; without them there is no start, for clients would be let in by chance."""
        certificate = self.files.pair(AUTHORITY.identity("a.test"))
        ca = self.files.write("ca.pem", AUTHORITY.certificate)
        keeper = self.keeper(certificate, client_ca=ca, client_auth="required")
        keeper.load()
        self.assertEqual(keeper.client_ca, AUTHORITY.certificate)
        keeper = self.keeper(certificate, client_ca="/none.pem", client_auth="required")
        error = self.assertRaises(ConfigError, keeper.load)
        self.assertEqual(
            str(error), 'configuration: tls.main.client_ca: cannot read "/none.pem": No such file or directory'
        )

    def test_warnings(self) -> None:
        """What is doubtful is told, of certificates and of authorities."""
        certificate = self.files.pair(AUTHORITY.identity("a.test", ends_in_days=100))
        os.chmod(certificate.key, 0o644)
        ca = self.files.write("ca.pem", Authority(ends_in_days=-1).certificate)
        self.keeper(certificate, client_ca=ca, client_auth="optional").load()
        self.assertEqual(
            self.said(),
            [
                'warn: tls.main: the only authority in "ca.pem" expired, the last on TIME',
                'warn: tls.main: others than its owner and group may open "a.key" (chmod o= takes that away)',
            ],
        )


class LookTests(KeeperCase):
    """Files that change."""

    def setUp(self) -> None:
        super().setUp()
        self.first = AUTHORITY.identity("a.test", ends_in_days=100)
        self.certificate = self.files.pair(self.first)

    def replace(self, *names: str, stem: str = "a", ends_in_days: float = 100) -> None:
        self.files.pair(AUTHORITY.identity(*names, ends_in_days=ends_in_days), stem)

    def test_noChange(self) -> None:
        """Nothing is told of files that stay, nor of such as are written again as they were."""
        self.started(self.certificate)
        self.clock.pump([5] * 3)
        self.files.pair(self.first)
        os.utime(self.certificate.chain)
        self.clock.pump([5] * 3)
        self.assertEqual((self.served, self.said(), self.thread.started), ([], [], 6))

    def test_replaced(self) -> None:
        """T5: a new certificate is served within the interval; the others stay the very same."""
        keeper = self.started(self.certificate, self.files.pair(AUTHORITY.identity("b.test"), "b"))
        before = keeper.pairs
        self.replace("c.test", "d.test")
        self.clock.advance(4.9)
        self.assertEqual(self.served, [])
        self.clock.advance(0.1)
        self.assertEqual(self.names(), [("c.test", "d.test"), ("b.test",)])
        self.assertIs(self.served[0][0][1], before[1])
        self.assertEqual(keeper.pairs, self.served[0][0])
        self.assertEqual(
            self.said(),
            ['info: tls.main: reloaded the certificate of c.test, d.test ("a.pem"), expires on TIME'],
        )
        self.clock.pump([5] * 3)
        self.assertEqual((len(self.served), self.counts.reloads, self.counts.failed_reloads), (1, 1, 0))

    def test_severalAtOnce(self) -> None:
        """All that one look finds is served at once, so that nobody sees a half of it."""
        second = self.files.pair(AUTHORITY.identity("b.test"), "b")
        ca = self.files.write("ca.pem", AUTHORITY.certificate)
        keeper = self.started(self.certificate, second, client_ca=ca, client_auth="optional")
        self.replace("c.test")
        self.replace("d.test", stem="b")
        both = AUTHORITY.certificate + Authority("Other").certificate
        self.files.write("ca.pem", both)
        self.clock.advance(5)
        ((pairs, client_ca),) = self.served
        self.assertEqual(([pair.names for pair in pairs], client_ca), ([("c.test",), ("d.test",)], both))
        self.assertEqual((keeper.client_ca, self.counts.reloads), (both, 1))
        self.assertEqual(
            self.said(),
            [
                'info: tls.main: reloaded client_ca with 2 authorities from "ca.pem"',
                'info: tls.main: reloaded the certificate of c.test ("a.pem"), expires on TIME',
                'info: tls.main: reloaded the certificate of d.test ("b.pem"), expires on TIME',
            ],
        )

    def test_keyThatDoesNotMatch(self) -> None:
        """T5: the old pair is kept, which is told once and counted; what is put right is served."""
        self.started(self.certificate)
        self.files.write("a.key", AUTHORITY.identity().key)
        self.clock.pump([5] * 4)
        self.assertEqual(self.served, [])
        self.assertEqual(
            self.said(),
            [
                'error: tls.main: "a.pem" is refused and the certificate before is kept: '
                'the key in "a.key" is not that of the certificate in "a.pem" (were both replaced?)'
            ],
        )
        self.assertEqual((self.counts.reloads, self.counts.failed_reloads), (0, 1))
        self.replace("b.test")
        self.clock.advance(5)
        self.assertEqual((self.names(), self.counts.reloads, self.counts.refused_pairs), ([("b.test",)], 1, 0))

    def test_badAgainInAnotherWay(self) -> None:
        """Each new reason is told."""
        self.started(self.certificate)
        for data, reason in ((b"", "is empty"), (b"x", "holds no certificate"), (b"", "is empty")):
            self.files.write("a.pem", data)
            self.clock.pump([5, 5])
            (line,) = self.said()
            self.assertIn(reason, line)
        self.assertEqual(self.counts.failed_reloads, 3)

    def test_vanished(self) -> None:
        """A file that is gone changes nothing; that is told once, and its return as well."""
        self.started(self.certificate)
        self.files.remove("a.key")
        self.clock.pump([5] * 3)
        self.assertEqual(
            self.said(),
            [
                'error: tls.main: "a.pem" is refused and the certificate before is kept: '
                'cannot read "a.key": No such file or directory'
            ],
        )
        self.files.pair(self.first)
        self.clock.pump([5] * 3)
        self.assertEqual(self.said(), ['info: tls.main: "a.pem" is as it was'])
        self.assertEqual(self.served, [])

    def test_refusedAtTheStart(self) -> None:
        """A pair that could not be used takes its place once it can be."""
        broken = Certificate(chain=str(self.files.folder / "b.pem"), key=str(self.files.folder / "b.key"))
        self.started(broken, self.certificate)
        self.clock.pump([5, 5])
        self.assertEqual((self.served, self.said()), ([], []))
        self.replace("b.test", stem="b")
        self.clock.advance(5)
        self.assertEqual(self.names(), [("b.test",), ("a.test",)])

    def test_symbolicLinks(self) -> None:
        """Tools that renew certificates move a link to a folder of new files."""
        for number in ("1", "2"):
            (self.files.folder / number).mkdir()
            self.replace(f"{number}.test", stem=f"{number}/a")
        link = self.files.folder / "live"
        link.symlink_to("1")
        self.started(Certificate(chain=str(link / "a.pem"), key=str(link / "a.key")))
        (self.files.folder / "new").symlink_to("2")
        (self.files.folder / "new").rename(link)
        self.clock.advance(5)
        self.assertEqual(self.names(), [("2.test",)])

    def test_aFileOfTheSameAge(self) -> None:
        """Neither age nor size need differ (`cp -p` into the same file)."""
        self.started(self.certificate)
        status = os.stat(self.certificate.key)
        data = bytearray(self.first.key)
        data[60:64] = b"AAAA" if data[60:64] != b"AAAA" else b"BBBB"
        with open(self.certificate.key, "r+b") as file:
            file.write(data)
        os.utime(self.certificate.key, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(os.stat(self.certificate.key).st_mtime_ns, status.st_mtime_ns)
        self.clock.advance(5)
        self.assertEqual(len(self.said()), 1)

    def test_staple(self) -> None:
        """A new OCSP reply is a change like any other; an expired one is left out with a warning."""
        certificate = self.files.pair(self.first, staple=AUTHORITY.staple(self.first))
        keeper = self.started(certificate)
        fresh = AUTHORITY.staple(self.first, ends_in_days=2)
        self.files.write("a.ocsp", fresh)
        self.clock.advance(5)
        self.assertEqual(keeper.pairs[0].staple, fresh)
        self.said()
        self.files.write("a.ocsp", AUTHORITY.staple(self.first, ends_in_days=-1))
        self.clock.advance(5)
        self.assertEqual(keeper.pairs[0].staple, b"")
        self.assertEqual(
            self.said()[1:],
            ['warn: tls.main: the OCSP reply in "a.ocsp" is too old since TIME and is left out (fetch it anew)'],
        )

    def test_authorities(self) -> None:
        """Bad ones change nothing, with a word; good ones are served with the pairs that are there."""
        ca = self.files.write("ca.pem", AUTHORITY.certificate)
        keeper = self.started(self.certificate, client_ca=ca, client_auth="required")
        self.files.write("ca.pem", b"x")
        self.clock.pump([5] * 3)
        self.assertEqual(
            self.said(),
            ['error: tls.main: client_ca is refused and the one before is kept: "ca.pem" holds no certificate in PEM'],
        )
        self.files.write("ca.pem", AUTHORITY.certificate)
        self.clock.advance(5)
        self.assertEqual((self.served, keeper.client_ca, self.counts.failed_reloads), ([], AUTHORITY.certificate, 1))
        other = Authority("Other").certificate
        self.files.write("ca.pem", other)
        self.clock.advance(5)
        self.assertEqual(self.served, [(keeper.pairs, other)])

    def test_onlyOnReload(self) -> None:
        """With an interval of 0 files are looked at when the operator says so (SIGHUP)."""
        keeper = self.started(self.certificate, reload_interval_s=0)
        self.replace("b.test")
        self.clock.pump([5] * 20)
        self.assertEqual(self.thread.started, 0)
        keeper.reload()
        self.assertEqual(self.names(), [("b.test",)])
        keeper.reload()
        self.assertEqual(len(self.served), 1)

    def test_reloadSaysItAgain(self) -> None:
        """Who asks for a reload is told what is wrong, also if that was told before."""
        ca = self.files.write("ca.pem", AUTHORITY.certificate)
        keeper = self.started(self.certificate, client_ca=ca, client_auth="required")
        self.files.write("a.key", b"x")
        self.files.write("ca.pem", b"x")
        self.clock.pump([5, 5])
        before = self.said()
        keeper.reload()
        self.assertEqual((self.said(), len(before)), (before, 2))

    def test_newFilesThatAreRefused(self) -> None:
        """While files are so new that every look reads them, what was said and offered is not repeated."""
        self.began_at = time.time() - 1000
        self.started(self.certificate)
        self.refusal = ValueError("no")
        self.replace("b.test")
        self.clock.pump([5] * 3)
        self.assertEqual((len(self.served), len(self.said())), (1, 1))
        self.files.write("a.key", b"x")
        self.clock.pump([5] * 3)
        self.assertEqual((len(self.served), len(self.said()), self.counts.failed_reloads), (1, 1, 2))
        self.assertEqual(self.thread.read, [{0}] * 6)

    def test_refusedByWhoServes(self) -> None:
        """What OpenSSL refuses changes nothing; it is offered again with the next change, not with every look."""
        keeper = self.started(self.certificate)
        before = keeper.pairs
        self.refusal = ValueError("no")
        self.replace("b.test")
        self.clock.pump([5] * 3)
        self.assertEqual((len(self.served), keeper.pairs, self.counts.failed_reloads), (1, before, 1))
        self.assertEqual(
            self.said(), ["error: tls.main: changed certificates are refused and those before are kept: no"]
        )
        self.refusal = None
        self.replace("c.test")
        self.clock.advance(5)
        self.assertEqual((self.names(), self.counts.reloads), ([("c.test",)], 1))

    def test_takenBack(self) -> None:
        """A candidate that was refused is forgotten when the old file returns."""
        second = self.files.pair(AUTHORITY.identity("b.test"), "b")
        self.started(self.certificate, second)
        self.refusal = ValueError("no")
        self.replace("x.test")
        self.clock.advance(5)
        self.refusal = None
        self.files.pair(self.first)
        self.replace("c.test", stem="b")
        self.clock.advance(5)
        self.assertEqual(self.names(), [("a.test",), ("c.test",)])

    def test_aBugOfWhoServes(self) -> None:
        """It is told once with its place, and tried again at the next look."""
        self.started(self.certificate)
        self.refusal = RuntimeError("bug")
        self.replace("b.test")
        self.clock.pump([5] * 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.refusal = None
        self.clock.advance(5)
        self.assertEqual((self.names(), self.counts.reloads), ([("b.test",)], 1))


class ThreadTests(KeeperCase):
    """File systems that hang."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate = self.files.pair(AUTHORITY.identity("a.test", ends_in_days=100))

    def replace(self, name: str) -> None:
        self.files.pair(AUTHORITY.identity(name, ends_in_days=100))

    def test_neverTwoLooks(self) -> None:
        """While one is under way there is no second; what was wanted meanwhile is done once after it."""
        keeper = self.started(self.certificate)
        self.thread.is_slow = True
        self.clock.pump([5] * 5)
        keeper.reload()
        self.assertEqual(self.thread.started, 1)
        self.thread.run()
        self.assertEqual(self.thread.started, 2)
        self.thread.run()
        self.assertEqual(self.thread.started, 2)
        self.clock.advance(5)
        self.assertEqual(self.thread.started, 3)
        self.thread.run()

    def test_aChangeDuringALook(self) -> None:
        """A reload that is asked for during a look sees what changed after that look."""
        keeper = self.started(self.certificate, reload_interval_s=0)
        self.thread.is_slow = True
        keeper.reload()
        function, done = self.thread.waiting.pop()
        found = function()
        self.replace("b.test")
        keeper.reload()
        done.callback(found)
        self.thread.run()
        self.assertEqual(self.names(), [("b.test",)])

    def test_stoppedDuringALook(self) -> None:
        """What a thread finds after the end is ignored."""
        keeper = self.started(self.certificate)
        self.replace("b.test")
        self.thread.is_slow = True
        self.clock.advance(5)
        keeper.stop()
        self.thread.run()
        self.assertEqual((self.served, self.said()), ([], []))
        keeper.reload()
        keeper.look()
        self.assertEqual(self.thread.started, 1)

    def test_aLookThatFails(self) -> None:
        """It is told once, and tried again."""
        self.started(self.certificate)
        self.thread.failure = RuntimeError("no threads")
        self.clock.pump([5] * 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.thread.failure = None
        self.replace("b.test")
        self.clock.advance(5)
        self.assertEqual(self.names(), [("b.test",)])
        self.thread.failure = RuntimeError("no threads")
        self.clock.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_manyAtOnce(self) -> None:
        """Of a hundred certificates that change at once the log names a few: each line takes time in the reactor."""
        folder = self.files.folder / "1"
        folder.mkdir()
        self.files.pair(AUTHORITY.identity("1.test", ends_in_days=100), "1/a")
        (self.files.folder / "2").mkdir()
        self.files.pair(AUTHORITY.identity("2.test", ends_in_days=100), "2/a")
        link = self.files.folder / "live"
        link.symlink_to("1")
        keeper = self.started(*(Certificate(chain=f"{link}/a.pem", key=f"{link}/./a.key") for _ in range(100)))
        link.unlink()
        self.clock.advance(5)
        lines = self.said()
        self.assertEqual((len(lines), len(self.served)), (11, 0))
        self.assertEqual(
            lines[-1], "warn: tls.main: 90 more lines like these are withheld (txproxy check shows what is wrong)"
        )
        link.symlink_to("2")
        self.clock.advance(5)
        self.assertEqual((len(self.said()), len(self.served), len(keeper.expiries())), (11, 1, 100))

    def test_theReactorTouchesNoFile(self) -> None:
        """All that is done with files is done in the thread, however many there are."""
        pairs = [self.files.pair(AUTHORITY.identity(f"{number}.test"), str(number)) for number in range(5)]
        self.started(*pairs)
        self.thread.is_slow = True
        self.files.folder.rename(f"{self.files.folder}.hidden")
        self.clock.advance(5)
        os.rename(f"{self.files.folder}.hidden", self.files.folder)
        self.thread.run()
        self.clock.advance(5)
        self.thread.run()
        self.assertEqual((self.served, self.said()), ([], []))

    def test_newFilesAreReadAgain(self) -> None:
        """Times of files are coarse: within two seconds a second change may leave no trace but in the content."""
        stamp = (FileStamp(10**9, 5 * 10**9, 1, 1, 1), None)
        self.assertEqual([is_settled(stamp, now) for now in (5.0, 7.0, 7.1)], [False, False, True])
        changed_at = os.stat(self.certificate.key).st_ctime
        self.began_at = changed_at - 20
        self.started(self.certificate)
        self.clock.pump([5] * 7)
        self.assertEqual(self.thread.read, [{0}] * 5 + [set()] * 2)
        seen = (SeenPair(self.certificate, None),)
        for now, expected in ((changed_at + 1, {0}), (changed_at + 10, set())):
            found = look(seen, SeenAuthorities("", None), now, lambda: None)
            self.assertEqual((set(found.unsettled), set(found.pairs)), (expected, {0}))
        seen = (SeenPair(self.certificate, found.pairs[0].stamp),)
        found = look(seen, SeenAuthorities("", None), changed_at + 10, lambda: None)
        self.assertEqual(found.pairs, {})

    def test_pauses(self) -> None:
        """Only one thread runs at a time: a look lets the others have their turn after each file that it has read."""
        pauses: list[None] = []
        look((SeenPair(self.certificate, None),) * 3, SeenAuthorities("", None), 0, lambda: pauses.append(None))
        self.assertEqual(len(pauses), 3)
        stamp = look((SeenPair(self.certificate, None),), SeenAuthorities("", None), 0, lambda: None).pairs[0].stamp
        pauses.clear()
        look((SeenPair(self.certificate, stamp),) * 100, SeenAuthorities("", None), 0, lambda: pauses.append(None))
        self.assertEqual(len(pauses), 6)


class TimeTests(KeeperCase):
    """Certificates that end, and such as begin."""

    def pair(self, ends_in_days: float, name: str = "a.test", begins_in_days: float | None = None) -> Certificate:
        # Days are counted from the time of the keeper; some minutes more, so that steps of seconds round off nothing.
        ahead = (self.now() - time.time() + 300) / DAY_S
        begins_in_days = None if begins_in_days is None else begins_in_days + ahead
        identity = AUTHORITY.identity(name, ends_in_days=ends_in_days + ahead, begins_in_days=begins_in_days)
        return self.files.pair(identity, name.partition(".")[0])

    def test_reminders(self) -> None:
        """30, 7 and 1 days before the end there is a line each, and one at the end."""
        self.started(self.pair(31), reload_interval_s=0)
        expected = []
        for days, span in ((2, "29 days"), (23, "6 days"), (5.5, "12 hours")):
            self.clock.advance(days * DAY_S)
            self.clock.pump([10] * 3)
            expected.append(f'warn: tls.main: the certificate of a.test ("a.pem") expires in {span}, on TIME')
        self.clock.advance(DAY_S)
        self.clock.pump([10] * 3)
        expected.append('error: tls.main: the certificate of a.test ("a.pem") has expired and is refused from now on')
        self.assertEqual(self.said(), expected)

    def test_atTheStart(self) -> None:
        """Of the reminders that are due only the most urgent one is said, and it is not repeated."""
        keeper = self.keeper(self.pair(0.5), self.pair(5, "b.test"), self.pair(20, "c.test"), self.pair(60, "d.test"))
        keeper.load()
        keeper.start(self.on_change)
        self.clock.pump([10] * 3)
        self.assertEqual(
            self.said(),
            [
                'warn: tls.main: the certificate of a.test ("a.pem") expires in 12 hours, on TIME',
                'warn: tls.main: the certificate of b.test ("b.pem") expires in 5 days, on TIME',
                'warn: tls.main: the certificate of c.test ("c.pem") expires in 20 days, on TIME',
            ],
        )

    def test_manyAtOnce(self) -> None:
        """Of many certificates that end together some are named at a time, until all were."""
        certificate = self.pair(31)
        self.started(*([certificate] * 25))
        self.clock.advance(2 * DAY_S)
        numbers = [len(self.said())]
        for _ in range(3):
            self.clock.advance(10)
            numbers.append(len(self.said()))
        self.assertEqual(numbers, [10, 10, 5, 0])

    def test_shortLived(self) -> None:
        """A certificate for some days or hours is no reason to worry while it is new."""
        keeper = self.keeper(self.pair(6, begins_in_days=-0.1), self.pair(0.5, "b.test", -0.1), reload_interval_s=0)
        keeper.load()
        keeper.start(self.on_change)
        self.clock.pump([0.2 * DAY_S] * 2)
        self.assertEqual(self.said(), [])
        self.clock.pump([0.2 * DAY_S, 4.8 * DAY_S])
        self.assertEqual(
            self.said(),
            [
                'error: tls.main: the certificate of b.test ("b.pem") has expired and is refused from now on',
                'warn: tls.main: the certificate of a.test ("a.pem") expires in 14 hours, on TIME',
            ],
        )

    def test_renewed(self) -> None:
        """A new certificate has reminders of its own."""
        self.started(self.pair(8))
        self.clock.advance(1.5 * DAY_S)
        self.assertEqual(len(self.said()), 1)
        self.pair(40)
        self.clock.advance(10)
        self.assertIn("reloaded", self.said()[0])
        self.clock.advance(11 * DAY_S)
        (line,) = self.said()
        self.assertIn("expires in 2", line)

    def test_notYetValid(self) -> None:
        """A certificate for later is refused, and served when its time has come, whatever the interval."""
        for interval_s in (5, 0):
            self.served.clear()
            later = self.pair(100, "b.test", begins_in_days=1)
            keeper = self.keeper(self.pair(100), later, reload_interval_s=interval_s)
            keeper.load()
            keeper.start(self.on_change)
            self.assertIn('"b.pem" is not valid before TIME', self.said()[0])
            self.clock.pump([100] * 5)
            self.assertEqual((self.served, self.said()), ([], []))
            self.clock.advance(DAY_S)
            self.assertEqual(self.names(), [("a.test",), ("b.test",)])
            self.assertEqual(len(self.said()), 1)
            keeper.stop()

    def test_replacedTooEarly(self) -> None:
        """The old certificate is served until the new one holds."""
        self.started(self.pair(100))
        self.pair(200, begins_in_days=1)
        self.clock.advance(5)
        self.assertIn("is refused and the certificate before is kept", self.said()[0])
        self.clock.advance(DAY_S + 600)
        self.assertEqual((len(self.served), self.counts.reloads), (1, 1))

    def test_badAfterTheEnd(self) -> None:
        """Nothing is kept of a certificate that has expired."""
        self.started(self.pair(1))
        self.clock.advance(2 * DAY_S)
        self.assertIn("has expired", self.said()[-1])
        self.files.write("a.key", b"x")
        self.clock.advance(5)
        self.assertTrue(self.said()[0].startswith('error: tls.main: "a.pem" is refused: '))

    def test_expiries(self) -> None:
        """Metrics have each certificate that is served, with its end."""
        keeper = self.started(self.pair(3), Certificate(chain="/none", key="/none"))
        self.assertEqual(keeper.expiries(), [(str(self.files.folder / "a.pem"), keeper.pairs[0].not_after)])
