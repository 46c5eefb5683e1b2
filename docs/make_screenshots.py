"""Makes the pictures of the dashboard in docs/images anew, of a proxy that is made up.

Run it as ``python docs/make_screenshots.py``. It needs Chromium and the tools of the tests.
"""

from __future__ import annotations

import time
from pathlib import Path

from txproxy.test.live.admin_stub import AdminStub
from txproxy.test.live.devtools import Tab

_IMAGES = Path(__file__).parent / "images"
_SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
_SHOWN_S = 210
"""So many seconds are shown, without waiting for them."""
_FILL = f"""(async () => {{
  clearTimeout(poller.timer);
  poller.asking++;
  const end = seen.points[0].at + {_SHOWN_S};
  while (latest.now < end) show(await ask("GET", "/status"));
}})()"""


def main() -> None:
    """Write each size in light and dark."""
    _IMAGES.mkdir(exist_ok=True)
    for name, size in _SIZES.items():
        # Each begins at the same moment, so that the same figures are on all of them.
        with AdminStub() as stub, Tab(size, phone=name == "phone") as tab:
            tab.call("Emulation.setScrollbarsHidden", hidden=True)
            tab.visit(stub.url)
            tab.wait("latest")
            tab.evaluate(_FILL)
            for scheme in ("light", "dark"):
                tab.prefer(scheme)
                time.sleep(0.5)  # transitions
                (_IMAGES / f"dashboard-{name}-{scheme}.png").write_bytes(tab.picture())
            assert not tab.complaints, tab.complaints


if __name__ == "__main__":
    main()
