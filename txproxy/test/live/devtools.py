"""Chromium driven by its DevTools protocol: keys, sizes, colour schemes, pictures, and all that it complains of."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from .browser import FLAGS
from .client import DEADLINE_S, wait_for
from .tls_front import needed

_KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}
_TEXTS = {"Enter": "\r", " ": " "}


class Tab:
    """One page in a Chromium of its own; a context manager.

    :param size: of the window, in CSS pixels; a ``phone`` has touch and a viewport of its own.
    """

    def __init__(self, size: tuple[int, int] = (1280, 800), phone: bool = False) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="txproxy-chromium-"))
        profile = self._home / "profile"
        self._process = subprocess.Popen(  # the command line is the test's own
            [needed("chromium"), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            env={**os.environ, "HOME": str(self._home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # It has children, and its program may be a script: all are ended as one group.
            start_new_session=True,
        )  # fmt: skip
        self.complaints: list[str] = []
        """Errors and warnings of the console, exceptions that nobody caught, and violations of the page's policy."""
        self._last_id = 0
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._end)
        try:
            told = profile / "DevToolsActivePort"
            wait_for(lambda: told.exists() and told.read_text().count("\n"), "Chromium", 2 * DEADLINE_S)
            port = int(told.read_text().split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=DEADLINE_S) as listed:
                (page,) = (each for each in json.load(listed) if each["type"] == "page")
            url = page["webSocketDebuggerUrl"]
            self._socket = self._stack.enter_context(connect(url, max_size=None, compression=None, ping_interval=None))
            for domain in ("Page", "Runtime", "Log", "Audits", "DOM"):
                self.call(f"{domain}.enable")
            self.resize(size, phone)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE_S)
        shutil.rmtree(self._home, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=2 * DEADLINE_S))
            if message.get("id") == self._last_id:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        told, method = message.get("params", {}), message.get("method")
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([each.get("value") for each in told["args"]]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Audits.issueAdded" and "contentSecurityPolicy" in str(told):
            self.complaints.append(str(told["issue"]))

    def visit(self, url: str) -> None:
        """Go to a page, and wait until its scripts have run."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, once it is settled.

        :raises AssertionError: it throws.
        """
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, (expression, done)
        return done["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true of the page."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < deadline, f"never true: {expression}\n{self.complaints}\n{self.text()}"
            time.sleep(0.05)

    def text(self, selector: str = "body") -> str:
        """Return what there is to read in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText"))

    def press(self, key: str) -> None:
        """Press a key: ``Tab``, ``Enter``, ``Escape`` or the space bar."""
        facts = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": _TEXTS[key]} if key in _TEXTS else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.call("Input.insertText", text=text)

    def tab_to(self, expression: str) -> None:
        """Press Tab until the element that has the focus, ``it``, is what an expression says."""
        for _ in range(200):
            self.press("Tab")
            if self.evaluate(f"(it => {expression})(document.activeElement)"):
                return
        raise AssertionError(f"Tab never comes to {expression}")

    def resize(self, size: tuple[int, int], phone: bool = False) -> None:
        """Give the window another size, or make it a phone's."""
        width, height = size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme: str) -> None:
        """Say that the user prefers ``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
