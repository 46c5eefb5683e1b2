"""Node's own HTTP/2 server as a backend that is not ours, with and without TLS; it does what a path says."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .client import wait_for
from .peers import Process
from .tls_front import needed
from .tls_identities import Leaf

_SCRIPT = """
const http2 = require("http2"), fs = require("fs");
const given = JSON.parse(process.argv[2]);
const counts = {sessions: 0, open: 0, most: 0, aborted: 0, requests: 0};
const seen = new Set();
const codes = http2.constants;

function answer(stream, headers) {
  const [path, query] = headers[":path"].split("?"), name = path.split("/")[1], argument = path.split("/")[2];
  counts.requests += 1;
  counts.open += 1;
  counts.most = Math.max(counts.most, counts.open);
  stream.on("aborted", () => { counts.aborted += 1; });
  stream.on("close", () => { counts.open -= 1; });
  stream.on("error", () => {});
  const told = {":status": 200, "x-session": String(stream.session.number),
                "x-echo": JSON.stringify({headers, raw: stream.sentHeaders})};
  const first = !seen.has(path + query);
  seen.add(path + query);
  if (name == "state") {
    stream.respond({":status": 200});
    stream.end(JSON.stringify({...counts, open: counts.open - 1}));
  } else if (name == "trailers") {
    stream.respond(told, {waitForTrailers: true});
    stream.on("wantTrailers", () => stream.sendTrailers({"x-sum": "5", "x-last": "yes"}));
    stream.end("hello");
  } else if (name == "early") {
    stream.additionalHeaders({":status": 103, "link": "</a.css>; rel=preload"});
    stream.respond(told);
    stream.end("late");
  } else if (name == "bytes") {
    stream.respond({...told, "content-length": argument});
    stream.end(headers[":method"] == "HEAD" ? undefined : Buffer.alloc(Number(argument), headers["x-letter"] || "a"));
  } else if (name == "refuse" && first) {
    stream.close(codes.NGHTTP2_REFUSED_STREAM);
  } else if (name == "fail") {
    stream.close(codes.NGHTTP2_INTERNAL_ERROR);
  } else if (name == "half") {
    stream.respond(told);
    stream.write("x".repeat(50));
    setTimeout(() => stream.destroy(new Error("half")), 20);
  } else if (name == "leave" && first) {
    stream.respond(told);
    stream.end("bye");
    stream.session.close();
  } else if (name == "cut") {
    stream.respond(told);
    stream.write("x".repeat(50), () => stream.session.destroy());
  } else if (name == "never") {
  } else if (name == "empty") {
    stream.respond({":status": 204});
    stream.end();
  } else {
    stream.respond(told);
    stream.on("trailers", trailers => stream.end(JSON.stringify(trailers)));
    stream.pipe(stream, {end: headers["trailer"] === undefined});
  }
}
const options = {settings: given.settings};
const server = given.chain
  ? http2.createSecureServer({...options, cert: fs.readFileSync(given.chain), key: fs.readFileSync(given.key)})
  : http2.createServer(options);
server.on("session", session => { session.number = ++counts.sessions; session.on("error", () => {}); });
server.on("stream", answer);
server.listen(0, "127.0.0.1", () => console.log("port", server.address().port));
"""


class NodeServer(Process):
    """A server; a context manager.

    :param settings: of HTTP/2, as Node names them.
    :param leaf: its certificate; None: no TLS.
    """

    def __init__(self, settings: dict[str, int] | None = None, leaf: Leaf | None = None) -> None:
        program = needed("node")
        directory = Path(tempfile.mkdtemp(prefix="txproxy-node-"))
        script = directory / "server.js"
        script.write_text(_SCRIPT)
        given: dict[str, Any] = {"settings": settings or {}}
        if leaf is not None:
            leaf.save(directory, "node")
            given |= {"chain": str(directory / "node.pem"), "key": str(directory / "node.key")}
        super().__init__([program, str(script), json.dumps(given)], directory)
        try:
            wait_for(lambda: "\n" in self.output_path.read_text() or self.process.poll() is not None, "node")
            self.port = int(self.output_path.read_text().split()[1])
        except BaseException:
            self.__exit__()
            raise
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> NodeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
