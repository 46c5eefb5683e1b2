"""Listeners that pass bytes through unread: real sockets of every kind, and programs of others at both ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from .helpers import MIB, TWISTD, TXPROXY, Command, at_once
from .peers import DEADLINE_S, PeerProxy, Process, ProxyProcess, unused_port, wait_for
from .stream_server import EchoProcess, Stream, StreamServer
from .tls_front import needed, s_client, section
from .tls_identities import Issuer


def tcp_config(
    *backends: str, listener: str = "", cluster: str = "", more: str = "", address: str = "127.0.0.1:0"
) -> str:
    """Return a configuration of one tcp listener ``raw`` and one cluster ``app`` of these backends."""
    members = ", ".join(f'{{ address = "{each}" }}' for each in backends)
    return (
        f'[[listener]]\nname = "raw"\nprotocol = "tcp"\naddress = "{address}"\ncluster = "app"\n{listener}\n'
        f"[cluster.app]\nbackends = [{members}]\n{cluster}\n{more}\n"
    )


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), DEADLINE_S)


def read_all(connection: socket.socket) -> bytes:
    """Read to the end of a connection."""
    received = bytearray()
    while data := connection.recv(1 << 16):
        received += data
    return bytes(received)


def is_reset(connection: socket.socket) -> bool:
    """Wait until a connection ends; return whether it was by a reset."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def asked(port: int, say: bytes = b"question", host: str = "127.0.0.1") -> bytes:
    """Say something, and that it is all; return all that comes back."""
    with connect(port, host) as client:
        client.sendall(say)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def test_a_killed_server() -> None:
    """Of two servers one is killed: its connections end, new ones all reach the other, and the log tells it (L1)."""
    with (
        EchoProcess("a") as first,
        EchoProcess("b") as second,
        ProxyProcess(tcp_config(first.address, second.address)) as proxy,
    ):
        assert sorted(asked(proxy.port) for _ in range(4)) == [b"a\nquestion"] * 2 + [b"b\nquestion"] * 2
        lines = proxy.access_lines(4)
        assert sorted(line["backend"] for line in lines) == sorted([first.address, second.address] * 2)
        for line in lines:
            assert (line["bytes_in"], line["bytes_out"], line["end"], line["tries"]) == (8, 10, "ok", 1)
            assert line["client"] == "127.0.0.1"
            assert line["total_ms"] > 0
        with connect(proxy.port) as one, connect(proxy.port) as other:
            open_ones = {each.recv(2): each for each in (one, other)}
            first.kill()
            assert open_ones[b"a\n"].recv(1) == b""
            open_ones[b"b\n"].sendall(b"still here")
            assert open_ones[b"b\n"].recv(100) == b"still here"
        assert [asked(proxy.port) for _ in range(10)] == [b"b\nquestion"] * 10


def test_checks_are_connections() -> None:
    """Unless a type is given, a server is well that takes connections, whatever it speaks."""
    with (
        StreamServer() as server,
        ProxyProcess(tcp_config(server.address, cluster="panic = false\nhealth = { interval_s = 0.2 }")) as proxy,
    ):
        wait_for(lambda: server.connections > 3, "some checks")
        assert asked(proxy.port) == b"question"
        assert "-> down" not in proxy.error_text


def test_half_close_both_ways() -> None:
    """A client that has said all gets an answer that begins later; so does a server (L1)."""
    answers: list[bytes] = []

    def late(connection: socket.socket) -> None:
        question = read_all(connection)
        connection.sendall(b"answer to " + question)

    def early(connection: socket.socket) -> None:
        connection.sendall(b"220 greeting\r\n")
        connection.shutdown(socket.SHUT_WR)
        answers.append(read_all(connection))

    with StreamServer(late) as server, ProxyProcess(tcp_config(server.address)) as proxy:
        assert asked(proxy.port, b"x" * MIB) == b"answer to " + b"x" * MIB
    with StreamServer(early) as server, ProxyProcess(tcp_config(server.address)) as proxy:
        with connect(proxy.port) as client:
            assert read_all(client) == b"220 greeting\r\n"
            client.sendall(b"said after the end")
            client.shutdown(socket.SHUT_WR)
            wait_for(lambda: answers, "the server to read on")
            assert answers == [b"said after the end"]
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["bytes_in"], line["bytes_out"]) == ("ok", 18, 14)


@pytest.mark.parametrize("slow", ["client", "server"])
def test_much_both_ways_at_once(slow: str) -> None:
    """64 MiB each way at the same time arrive byte for byte, whichever side reads slowly; memory stays bounded."""
    up, down = Stream(1, 64 * MIB), Stream(2, 64 * MIB)
    verdicts: list[bool] = []

    def rest() -> None:
        time.sleep(0.005)

    def serve(connection: socket.socket) -> None:
        sending = threading.Thread(target=down.send, args=(connection,), daemon=True)
        sending.start()
        verdicts.append(up.receive(connection, pause=rest if slow == "server" else None))
        sending.join(4 * DEADLINE_S)

    with StreamServer(serve) as server, ProxyProcess(tcp_config(server.address)) as proxy:
        before = proxy.rss_bytes()
        with connect(proxy.port) as client:
            client.settimeout(4 * DEADLINE_S)
            sending = threading.Thread(target=up.send, args=(client,), daemon=True)
            sending.start()
            assert down.receive(client, pause=rest if slow == "client" else None)
            sending.join(4 * DEADLINE_S)
        wait_for(lambda: verdicts, "the server's verdict")
        assert verdicts == [True]
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["bytes_in"], line["bytes_out"]) == ("ok", 64 * MIB, 64 * MIB)
        assert proxy.rss_bytes() - before < 8 * MIB


def pipes_of(pid: int) -> int:
    """Return how many ends of pipes a process has open."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # It may be closed by now.
            names.append(str(link.readlink()))
    return sum(name.startswith("pipe:") for name in names)


@pytest.mark.parametrize("host", ["127.0.0.1", "unix"])
def test_bulk_goes_past_the_process(host: str) -> None:
    """What comes in bulk is moved by the kernel through a pipe, as soon as a slow reader takes some of it."""
    small, stream, held = Stream(4, 10), Stream(3, 64 * MIB), set()
    turns = iter((small, stream))
    with (
        StreamServer(lambda connection: next(turns).send(connection), host=host) as server,
        ProxyProcess(tcp_config(server.address)) as proxy,
    ):
        with connect(proxy.port) as client:
            assert small.receive(client)  # Its reactor runs, with the pipes that itself needs.
        before = pipes_of(proxy.pid)
        with connect(proxy.port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

            def look() -> None:
                time.sleep(0.005)
                held.add(pipes_of(proxy.pid) - before)

            assert stream.receive(client, pause=look)
        assert max(held) == 2, held
        lines = proxy.access_lines(2)
        assert [line["bytes_out"] for line in lines] == [10, 64 * MIB]


def test_every_kind_of_address(tmp_path: Path) -> None:
    """IPv4, IPv6 and unix sockets, each in front of each (D11)."""
    fronts = {"v4": "127.0.0.1:0", "v6": "[::1]:0", "local": f"unix:{tmp_path}/front"}
    with ExitStack() as stack:
        backs = {
            name: stack.enter_context(StreamServer(host=host))
            for name, host in (("v4", "127.0.0.1"), ("v6", "::1"), ("local", "unix"))
        }
        text = ""
        for back, server in backs.items():
            text += f'[cluster.{back}]\nbackends = [{{ address = "{server.address}" }}]\n'
            for front, address in fronts.items():
                place = address if address.endswith(":0") else f"{address}-{back}"
                text += f'[[listener]]\nname = "{front}-{back}"\nprotocol = "tcp"\naddress = "{place}"\n'
                text += f'cluster = "{back}"\n'
        proxy = stack.enter_context(ProxyProcess(text))
        for back in backs:
            assert asked(proxy.ports[f"v4-{back}"]) == b"question"
            assert asked(proxy.ports[f"v6-{back}"], host="::1") == b"question"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(f"{tmp_path}/front-{back}")
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"question"
        lines = proxy.access_lines(9)
        assert {line["client"] for line in lines} == {"127.0.0.1", "::1", "unix"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("command", [[*TWISTD, "-n", "txproxy"], [*TXPROXY, "run"]], ids=["twistd", "txproxy"])
def test_by_flags_alone(command: list[str], host: str) -> None:
    """A forwarder of bytes needs no file, on IPv4 and IPv6 (D11); it logs each connection and stops with status 0."""
    with StreamServer(host=host) as server:
        arguments = [*command, "--mode", "tcp", "-l", host, "-p", "0", "-b", host, "-P", str(server.port)]
        with Command(arguments) as proxy:
            assert "listening on tcp://" in proxy.text
            assert asked(proxy.port, host=host) == b"question"
            assert proxy.end(signal.SIGTERM) == 0
            assert re.search(r' "-" - 8 "-" "-" \w+ \S+ 1 .* ok listener=quick cluster=quick bytes_in=8\n', proxy.text)


def test_no_server() -> None:
    """Where no server can be reached the client sees a reset, and there is one line that says so."""
    with ProxyProcess(tcp_config(*(f"127.0.0.1:{unused_port()}" for _ in range(2)))) as proxy:
        with connect(proxy.port) as client:
            assert is_reset(client)
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["tries"], line["status"]) == ("connect-failed", 2, None)


def test_resets_are_passed_on() -> None:
    """A side that is reset has the other reset, and the log has who it was."""
    seen: list[bool] = []

    def watch(connection: socket.socket) -> None:
        connection.sendall(b"here")
        seen.append(is_reset(connection))

    with StreamServer(watch) as server, ProxyProcess(tcp_config(server.address)) as proxy:
        client = connect(proxy.port)
        assert client.recv(4) == b"here"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        wait_for(lambda: seen, "the server to see it")
        assert seen == [True]
        assert proxy.access_lines(1)[0]["end"] == "client-left"

    def leave(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with StreamServer(leave) as server, ProxyProcess(tcp_config(server.address)) as proxy:
        with connect(proxy.port) as client:
            client.sendall(b"x")
            assert is_reset(client)
        assert proxy.access_lines(1)[0]["end"] == "backend-closed"


def test_idle_timeout() -> None:
    """A tunnel through which nothing goes is cut; one through which something goes is not."""
    with (
        StreamServer() as server,
        ProxyProcess(tcp_config(server.address, cluster="timeouts.tunnel_idle_s = 1")) as proxy,
        connect(proxy.port) as idle,
        connect(proxy.port) as busy,
    ):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            time.sleep(0.05)
        assert is_reset(idle)
        (line,) = proxy.access_lines(1)
        assert line["end"] == "idle-timeout"
        busy.sendall(b"y")
        assert busy.recv(1) == b"y"


def test_stop_waits_for_tunnels() -> None:
    """After SIGTERM nothing more is accepted, and an open tunnel goes on until its two sides are done; exit status 0."""
    more = '[proxy]\nshutdown_timeout_s = 0.5\n[log]\naccess = "access.log"\n'
    with (
        StreamServer() as server,
        Command([*TXPROXY, "run", "-c", "proxy.toml"], {"proxy.toml": tcp_config(server.address, more=more)}) as proxy,
    ):
        with connect(proxy.port) as client:
            client.sendall(b"before")
            assert client.recv(6) == b"before"
            proxy.signal(signal.SIGTERM)
            wait_for(lambda: "stopping" in proxy.text, "the stop")
            time.sleep(1)
            client.sendall(b"after")
            assert client.recv(5) == b"after"
            with pytest.raises(OSError):
                connect(proxy.port)
        assert proxy.end() == 0
        assert " ok listener=raw " in (proxy.directory / "access.log").read_text()


@pytest.mark.parametrize("way", ["time", "signal"])
def test_stop_cuts_in_the_end(way: str) -> None:
    """When a tunnel's time is over, or at a second signal, it is cut; exit status 0."""
    limit = 0.5 if way == "time" else 60
    more = f'[proxy]\ntunnel_shutdown_timeout_s = {limit}\n[log]\naccess = "access.log"\n'
    with (
        StreamServer() as server,
        Command([*TXPROXY, "run", "-c", "proxy.toml"], {"proxy.toml": tcp_config(server.address, more=more)}) as proxy,
        connect(proxy.port) as client,
    ):
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        proxy.signal(signal.SIGTERM)
        if way == "signal":
            wait_for(lambda: "stopping" in proxy.text, "the stop")
            proxy.signal(signal.SIGTERM)
        assert is_reset(client)
        assert proxy.end() == 0
        assert " shutdown listener=raw " in (proxy.directory / "access.log").read_text()


def test_memory_of_idle_connections() -> None:
    """An open connection takes 16 KiB of the proxy's memory at most (D13)."""
    count = 600
    with (
        StreamServer() as server,
        ProxyProcess(tcp_config(server.address, cluster="pool.max_connections = 1000")) as proxy,
    ):
        with ExitStack() as stack:

            def opened() -> socket.socket:
                client = stack.enter_context(closing(connect(proxy.port)))
                client.sendall(b"x" * 1024)
                assert client.recv(1024, socket.MSG_WAITALL) == b"x" * 1024
                return client

            for _ in range(100):
                opened()
            before = proxy.rss_bytes()
            for _ in range(count):
                opened()
            assert (proxy.rss_bytes() - before) / count <= 16 * 1024
        assert len(proxy.access_lines(count + 100)) == count + 100


def test_redis() -> None:
    """Redis behind the proxy works as without: its own benchmark, with and without pipelining."""
    server_program, benchmark = needed("redis-server"), needed("redis-benchmark")
    with (
        PeerProxy([server_program], 'port PORT\nbind 127.0.0.1\nsave ""\ndir DIRECTORY\n') as redis,
        ProxyProcess(tcp_config(f"127.0.0.1:{redis.port}")) as proxy,
    ):
        assert asked(proxy.port, b"SET a b\r\nGET a\r\nQUIT\r\n") == b"+OK\r\n$1\r\nb\r\n+OK\r\n"
        for pipelined in ("1", "16"):
            done = subprocess.run(  # the command line is the test's own
                [benchmark, "-p", str(proxy.port), "-n", "20000", "-c", "20", "-d", "1024", "-t", "set,get,lpush",
                 "-P", pipelined, "--csv"],
                capture_output=True, text=True, timeout=4 * DEADLINE_S, check=True,
            )  # fmt: skip
            assert {'"SET"', '"GET"', '"LPUSH"'} <= {line.partition(",")[0] for line in done.stdout.splitlines()}
            assert "rror" not in done.stdout + done.stderr


def test_postgresql(tmp_path: Path) -> None:
    """PostgreSQL behind the proxy works as without: its own benchmark, and a long reply."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root; Debian's package makes a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="txproxy-postgres-"))
    if user is not None:
        shutil.chown(home, user)

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(  # the command line is the test's own
            [str(programs[-1] / program), *arguments],
            user=user, cwd=home, env={**os.environ, "HOME": str(home)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=4 * DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    run("initdb", "-D", "data", "-A", "trust", "-U", "tester", "--no-sync")
    port = unused_port()
    options = f"-h 127.0.0.1 -p {port} -k {home} -F"
    run("pg_ctl", "-D", "data", "-w", "-l", f"{home}/log", "-o", options, "start")
    try:
        with ProxyProcess(tcp_config(f"127.0.0.1:{port}")) as proxy:
            front = "-h", "127.0.0.1", "-p", str(proxy.port), "-U", "tester"
            run("pgbench", *front, "-i", "-s", "2", "-q", "postgres")
            shown = run("pgbench", *front, "-c", "8", "-t", "200", "-n", "postgres")
            assert "number of transactions actually processed: 1600/1600" in shown
            assert "number of failed transactions: 0" in shown
            # A whole table, as one long reply.
            rows = run("psql", *front, "-At", "-c", "select * from pgbench_accounts order by aid", "postgres")
            assert rows.count("\n") == 200_000
            direct = "-h", "127.0.0.1", "-p", str(port), "-U", "tester"
            assert rows == run("psql", *direct, "-At", "-c", "select * from pgbench_accounts order by aid", "postgres")
            lines = proxy.access_lines(11)
            assert {line["end"] for line in lines} == {"ok"}
            assert lines[-1]["bytes_out"] > len(rows)
    finally:
        run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


class TlsServer(Process):
    """``openssl s_server`` with a certificate of its own, which answers requests with a page; a context manager.

    :param name: its host, and the stem of its files.
    """

    def __init__(self, issuer: Issuer, name: str, directory: Path, *arguments: str) -> None:
        self.leaf = issuer.leaf(name)
        self.leaf.save(directory, name)
        self.address = f"127.0.0.1:{unused_port()}"
        files = "-cert", f"{directory}/{name}.pem", "-key", f"{directory}/{name}.key"
        own = directory / f"of-{name}"
        own.mkdir()
        super().__init__([needed("openssl"), "s_server", "-www", "-accept", self.address, *files, *arguments], own)
        wait_for(lambda: b"ACCEPT" in self.output_path.read_bytes(), "s_server")

    def __enter__(self) -> TlsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def test_passthrough_by_name_and_protocol(tmp_path: Path) -> None:
    """A TLS client reaches the server that it names, or whose protocol it speaks, and shakes hands with that one."""
    issuer = Issuer()
    (tmp_path / "root.pem").write_bytes(issuer.pem)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(TlsServer(issuer, f"{name}.example", tmp_path, *more))
            for name, more in (("a", ()), ("b", ()), ("acme", ("-alpn", "acme-tls/1")))
        }
        config = "".join(
            f'[cluster.{name}]\nbackends = [{{ address = "{server.address}" }}]\n' for name, server in servers.items()
        )
        config += (
            '[[listener]]\nname = "raw"\nprotocol = "tcp"\naddress = "127.0.0.1:0"\n'
            'sni_clusters = { "a.example" = "a", "*.b.example" = "b" }\nalpn_clusters = { "acme-tls/1" = "acme" }\n'
        )
        proxy = stack.enter_context(ProxyProcess(config))
        trust = "-CAfile", str(tmp_path / "root.pem")
        for arguments, name in (
            (("-servername", "a.example"), "a"),
            (("-servername", "a.example", "-tls1_2"), "a"),
            (("-servername", "x.b.example"), "b"),
            (("-servername", "a.example", "-alpn", "h2,acme-tls/1"), "acme"),
        ):
            shown = s_client(proxy.port, *arguments, *trust)
            assert shown.is_of(servers[name].leaf), (name, shown.text)
            assert "Verify return code: 0 (ok)" in shown.text
        page = s_client(proxy.port, "-servername", "a.example", *trust, say=b"GET / HTTP/1.0\r\n\r\n").text
        assert "HTTP/1.0 200 ok" in page
        assert s_client(proxy.port, "-servername", "elsewhere.test").certificate == ""
        line = proxy.access_lines(6)[-1]
        assert (line["end"], line["host"], line["backend"]) == ("no-route", "elsewhere.test", None)
        assert proxy.access_lines(6)[3]["alpn"] == ["h2", "acme-tls/1"]


def test_tls_ends_here_and_begins_again(tmp_path: Path) -> None:
    """A listener with tls passes on what is in it; a cluster with tls encrypts it anew, and verifies the server."""
    issuer = Issuer()
    (tmp_path / "root.pem").write_bytes(issuer.pem)
    pair = issuer.leaf("front.example").save(tmp_path, "front")
    with TlsServer(issuer, "back.example", tmp_path) as server:
        tls = f'tls = {{ enabled = true, ca = "{tmp_path}/root.pem", server_name = "back.example" }}'
        config = tcp_config(server.address, listener='tls = "main"', cluster=tls, more=section("main", [pair]))
        with ProxyProcess(config) as proxy:
            trust = "-CAfile", str(tmp_path / "root.pem"), "-verify_hostname", "front.example"
            shown = s_client(proxy.port, *trust, say=b"GET / HTTP/1.0\r\n\r\n")
            assert "Verify return code: 0 (ok)" in shown.text
            assert "HTTP/1.0 200 ok" in shown.text
            (line,) = proxy.access_lines(1)
            assert line["tls"] == "TLSv1.3"
        config = config.replace('server_name = "back.example"', 'server_name = "other.example"')
        with ProxyProcess(config) as proxy:
            s_client(proxy.port, say=b"GET / HTTP/1.0\r\n\r\n")
            assert proxy.access_lines(1)[0]["end"] == "tls-verify"


def test_half_close_within_tls(tmp_path: Path) -> None:
    """A close alert says that a client sends no more; it gets its answer all the same, and then the server's alert."""
    pair = Issuer().leaf("front.example").save(tmp_path, "front")

    def late(connection: socket.socket) -> None:
        question = read_all(connection)
        connection.sendall(b"answer to " + question)

    with (
        StreamServer(late) as server,
        ProxyProcess(tcp_config(server.address, listener='tls = "main"', more=section("main", [pair]))) as proxy,
        connect(proxy.port) as plain,
    ):
        plain.setblocking(True)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
        client.set_connect_state()
        client.do_handshake()
        client.sendall(b"x" * 100_000)
        client.shutdown()
        received = bytearray()
        with pytest.raises(SSL.ZeroReturnError):
            while True:
                received += client.recv(1 << 16)
        assert received == b"answer to " + b"x" * 100_000
        plain.close()
        assert proxy.access_lines(1)[0]["end"] == "ok"


def test_a_hello_that_never_comes() -> None:
    """Whoever says nothing, or not all of it, is sent away in time; many of them are no burden."""
    with StreamServer() as server:
        config = tcp_config(server.address, listener='header_timeout_s = 1\nsni_clusters = { "a.example" = "app" }')
        with ProxyProcess(config) as proxy:
            begun = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]

            def kept_waiting(say: bytes) -> bool:
                with connect(proxy.port) as client:
                    client.sendall(say)
                    return is_reset(client)

            assert at_once([lambda say=begun[number % 3]: kept_waiting(say) for number in range(30)]) == [True] * 30
            assert {line["end"] for line in proxy.access_lines(30)} == {"request-timeout"}
            assert server.connections == 0
            assert asked(proxy.port, b"SSH-2.0-client\r\n") == b"SSH-2.0-client\r\n"
