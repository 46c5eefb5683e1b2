"""Mixed traffic for as long as one likes, with every byte checked and the proxy's descriptors and memory watched.

``python -m txproxy.test.live.soak --minutes 60`` prints a line each minute and a verdict; its exit status is 0 if all
is well. First one large upload goes to a slow backend at a limited rate, then everything at once: requests of all
sizes, slow readers, clients that leave, malformed requests, idle connections, log rotation, and a backend that dies
and comes back. At the end all must be as it was before.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from .helpers import MIB
from .peers import Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for
from .replies import NotHttp, Reply
from .test_isolation import digest_reply

UPLOAD_BYTES_PER_S = 10 * MIB
UPLOAD_GROWTH_BYTES = 2 * MIB
MIX_GROWTH_BYTES = 8 * MIB
POOL_IDLE = 64
"""Connections to the two backends that may stay idle."""
MALFORMED = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(40),
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 40_000 + b"\r\n\r\n",
    b"PUT /bad?size=0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
)


class Soak:
    """The run.

    :param proxy: the process under test.
    :param ends_at: moment of time.monotonic() at which clients stop.
    """

    def __init__(self, proxy: ProxyProcess, ends_at: float) -> None:
        self.proxy = proxy
        self.ends_at = ends_at
        self.faults: list[str] = []
        """What must not happen; any of them is a failure."""
        self.counts: Counter[str] = Counter()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[random.Random], None], count: int = 1) -> None:
        """Run something over and over in threads of their own until the time is over."""

        def run(seed: int) -> None:
            chooser = random.Random(seed)
            while time.monotonic() < self.ends_at:
                try:
                    work(chooser)
                    self.counts[work.__name__] += 1
                except OSError as error:
                    self.faults.append(f"{work.__name__}: {error!r}")
                except AssertionError as error:
                    self.faults.append(f"{work.__name__}: {str(error)[:300]}")
                    if len(self.faults) > 100:
                        return

        for number in range(count):
            thread = threading.Thread(target=run, args=(len(self._threads) * 1000 + number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Wait for all threads."""
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                self.faults.append("a client hangs")

    # The clients.

    def exchange(self, chooser: random.Random) -> None:
        """Several requests with bodies of one's own on one connection; each byte of the replies is checked."""
        with Client(self.proxy.port) as client:
            for turn in range(chooser.randrange(1, 30)):
                content = chooser.randbytes(chooser.choice((0, 10, 3000, 80_000, 400_000)))
                size = chooser.choice((0, 1, 100, 5001, 70_000, 700_001))
                target = f"/x{chooser.randrange(1 << 60)}/{turn}?size={size}"
                if chooser.random() < 0.3:
                    wire = b"".join(
                        b"%x\r\n%b\r\n" % (len(content[at : at + 30_000]), content[at : at + 30_000])
                        for at in range(0, len(content), 30_000)
                    )
                    head = f"PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    client.send(head.encode() + wire + b"0\r\n\r\n")
                else:
                    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
                    client.send(head.encode() + content)
                reply = client.reply("POST")
                if not self.check(reply, target, content, size) or reply.value("Connection") == "close":
                    return
                time.sleep(chooser.random() * 0.02)

    def check(self, reply: Reply, target: str, content: bytes, size: int) -> bool:
        """Check a reply; return whether the connection can be used again."""
        self.counts[f"status {reply.status}"] += 1
        if reply.status == 200 and reply.complete:
            mark = f"{target}|{hashlib.sha256(content).hexdigest()}|".encode()
            whole = (mark * (size // len(mark) + 1))[: max(size, len(mark))]
            assert reply.body == whole, f"wrong bytes for {target}: {reply.body[:100]!r}"
            return True
        # A backend that dies may cost what is under way: with a clear failure, never with wrong bytes.
        assert reply.status in (200, 502), f"status {reply.status} for {target}"
        self.counts["cut replies"] += not reply.complete
        return reply.complete

    def slow_reader(self, chooser: random.Random) -> None:
        """A client with a small window that takes its time."""
        target = f"/slow{chooser.randrange(1 << 60)}?size=600001"
        with Client(self.proxy.port, receive_buffer=16_384) as client:
            client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            while not client.closed and not client.received.endswith(b"0\r\n\r\n") and len(client.received) < 600_000:
                if not client.read_some(8192):
                    break
                time.sleep(chooser.random() * 0.02)
            if not client.closed:
                self.check(client.reply(), target, b"", 600_001)

    def leaver(self, chooser: random.Random) -> None:
        """A client that goes in the middle of something."""
        with Client(self.proxy.port) as client:
            request = b"POST /leave?size=500000 HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)
            client.send(request[: chooser.randrange(len(request) + 1)])
            if chooser.random() < 0.5:
                client.read_until(lambda: len(client.received) > 1000, chooser.random() * 0.2)
            if chooser.random() < 0.5:
                client.reset()
        time.sleep(chooser.random() * 0.05)

    def malformed(self, chooser: random.Random) -> None:
        """A client that sends what is no request; it must be refused, or closed."""
        with Client(self.proxy.port) as client:
            client.send(chooser.choice(MALFORMED))
            client.half_close()
            assert client.read_until_closed(), "a malformed request was neither refused nor closed"
            with contextlib.suppress(NotHttp):
                statuses = client.exchanged().statuses
                assert all(400 <= status < 500 for status in statuses), statuses
        time.sleep(chooser.random() * 0.1)

    def idler(self, chooser: random.Random) -> None:
        """Many connections that do nothing for a while after a request."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.proxy.port)) for _ in range(40)]
            for client in clients:
                assert client.request("/idle?size=10", "POST", body=b"").status in (200, 502)
            time.sleep(min(5, max(0, self.ends_at - time.monotonic())))

    def reopen_log(self) -> int:
        """Rotate the access log as logrotate does; return how many lines the old one had."""
        old = self.proxy.access_path.with_suffix(".old")
        if not self.proxy.access_path.exists():
            return 0
        self.proxy.access_path.rename(old)
        self.proxy.process.send_signal(signal.SIGUSR1)
        wait_for(self.proxy.access_path.exists, "the access log to be opened anew")
        time.sleep(0.2)
        with old.open("rb") as file:
            lines = sum(1 for _ in file)
        old.unlink()
        return lines


def upload(proxy: ProxyProcess, backend: Backend, size: int) -> str:
    """Send one large chunked upload at a limited rate; return what is wrong with it, if anything."""
    print(f"upload of {size // MIB} MiB at {UPLOAD_BYTES_PER_S // MIB} MiB/s to a slow backend", flush=True)
    piece = random.Random(1).randbytes(65_536)
    digest = hashlib.sha256()
    with Client(proxy.port) as client:
        client.request("/warm", "POST", body=bytes(MIB))
        before = most = proxy.rss_bytes()
        begun = time.monotonic()
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for sent in range(0, size, len(piece)):
            client.send(b"10000\r\n" + piece + b"\r\n")
            digest.update(piece)
            most = max(most, proxy.rss_bytes())
            time.sleep(max(0, begun + sent / UPLOAD_BYTES_PER_S - time.monotonic()))
        client.send(b"0\r\n\r\n")
        reply = client.reply("PUT", 120)
    print(f"  memory grew by {(most - before) / MIB:.1f} MiB", flush=True)
    if reply.body != digest.hexdigest().encode():
        return f"the upload arrived damaged: {reply.body!r}"
    if most - before > UPLOAD_GROWTH_BYTES:
        return f"memory grew by {most - before} bytes in an upload"
    return ""


def slow_digest(connection: BackendConnection, request: object) -> None:
    """Answer with the hash of the request's body."""
    connection.send(http_reply(body=connection.requests[-1].body_sha256.encode()))


def die_and_return(soak: Soak, backend: Backend) -> Backend:
    """Stop a backend, wait, and start it again on its port; return the new one."""
    port = backend.port
    backend.stop()
    time.sleep(1)
    soak.counts["backend died"] += 1
    return Backend(digest_reply, port=port, record_limit=0, body_limit=0)


def run_upload(minutes: float) -> list[str]:
    """Run the first part: at most 1 GiB, less in a short run."""
    size = int(min(1024 * MIB, minutes * 60 * 0.3 * UPLOAD_BYTES_PER_S)) // 65_536 * 65_536
    with (
        Backend(
            slow_digest, receive_buffer=1 << 16, read_bytes=16_384, read_delay_s=0.002, record_limit=0, body_limit=0
        ) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
    ):
        fault = upload(proxy, backend, size)
    return [fault] if fault else []


def run_mix(minutes: float) -> list[str]:
    """Run the second part: everything at once."""
    listener = "header_timeout_s = 5\nbody_timeout_s = 5"
    backends = [Backend(digest_reply, record_limit=0, body_limit=0) for _ in range(2)]
    proxy = ProxyProcess(config_for(*(backend.address for backend in backends), listener=listener))
    try:
        descriptors = proxy.fd_count()
        soak = Soak(proxy, time.monotonic() + minutes * 60)
        memory, lines = mix(soak, backends, minutes)
        soak.join()
        for backend in backends:
            soak.faults += backend.violations
        lines += settle(soak, descriptors, memory)
        lines_and_exit(soak, lines)
        return soak.faults
    finally:
        proxy.kill()
        shutil.rmtree(proxy.directory, ignore_errors=True)
        for backend in backends:
            backend.stop()


def mix(soak: Soak, backends: list[Backend], minutes: float) -> tuple[int, int]:
    """Let the traffic flow and report; return the memory after the first interval, and lines of rotated logs."""
    proxy, begun = soak.proxy, time.monotonic()
    memory = lines = 0
    works = ((soak.exchange, 8), (soak.slow_reader, 4), (soak.leaver, 2), (soak.malformed, 1), (soak.idler, 2))
    for work, count in works:
        soak.start(work, count)
    interval_s = min(60.0, minutes * 60 / 4)
    while time.monotonic() < soak.ends_at and len(soak.faults) < 100:
        next_at = min(time.monotonic() + interval_s, soak.ends_at)
        while time.monotonic() < next_at:
            time.sleep(min(8, max(0, next_at - time.monotonic())))
            backends[1] = die_and_return(soak, backends[1])
            for backend in backends:
                # What a backend remembers of ended connections is this process's memory, and there are many.
                soak.faults += [violation for connection in backend.connections for violation in connection.violations]
                backend.connections[:] = backend.open_connections
        lines += soak.reopen_log()
        memory = memory or proxy.rss_bytes()
        shown = ", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items()))
        print(
            f"{(time.monotonic() - begun) / 60:6.1f} min: {proxy.fd_count()} descriptors, "
            f"{proxy.rss_bytes() / MIB:.1f} MiB, {lines} lines; {shown}; {len(soak.faults)} faults",
            flush=True,
        )
    return memory, lines


def settle(soak: Soak, descriptors: int, memory: int) -> int:
    """Look whether everything returns to what it was; return lines of the log that was rotated now.

    :param descriptors: before the traffic.
    :param memory: resident bytes once the traffic had begun.
    """
    proxy, faults = soak.proxy, soak.faults
    with contextlib.suppress(AssertionError):
        wait_for(lambda: proxy.fd_count() <= descriptors + POOL_IDLE, "the descriptors", 60)
    left, growth = proxy.fd_count() - descriptors, proxy.rss_bytes() - memory
    time.sleep(2)
    busy = proxy.cpu_seconds()
    time.sleep(5)
    # A timer that nobody stopped would show as work that nobody asked for.
    busy = (proxy.cpu_seconds() - busy) / 5
    print(f"end: {left} descriptors more, {growth / MIB:.1f} MiB more, idle CPU {busy:.1%}", flush=True)
    if left > POOL_IDLE:
        faults.append(f"{left} descriptors were not closed")
    if growth > MIX_GROWTH_BYTES:
        faults.append(f"memory grew by {growth} bytes")
    if busy > 0.05:
        faults.append(f"the idle proxy uses {busy:.1%} of a core")
    return soak.reopen_log()


def lines_and_exit(soak: Soak, lines: int) -> None:
    """Stop the proxy, and see that it counted as many exchanges as there are lines in its logs."""
    proxy, faults = soak.proxy, soak.faults
    proxy.process.send_signal(signal.SIGTERM)
    status = proxy.process.wait(60)
    lines += proxy.access_path.read_bytes().count(b"\n")
    text = proxy.error_text
    counted = int(text.rpartition(" connections, ")[2].partition(" exchanges")[0] or -1)
    print(f"{counted} exchanges, {lines} lines", flush=True)
    if counted != lines:
        faults.append(f"{counted} exchanges made {lines} lines")
    if status != 0:
        faults.append(f"exit status {status}")
    faults += [line for line in text.splitlines() if "Traceback" in line or "Unhandled" in line]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; return 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m txproxy.test.live.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long the mixed traffic runs (%(default)s)")
    minutes = parser.parse_args(arguments).minutes
    faults = run_upload(minutes) + run_mix(minutes)
    for fault in faults[:20]:
        print(f"FAULT: {fault}")
    print(f"verdict: {'all is well' if not faults else f'{len(faults)} faults'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
