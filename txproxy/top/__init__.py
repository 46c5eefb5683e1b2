"""``txproxy top``: what a proxy does at this moment, on a terminal.

``figures`` compares two reports of the admin interface, ``frame`` writes what is seen as lines of text, and ``screen``
draws them by curses and takes the keys. The first two know of no terminal.
"""

from txproxy.top.command import add_parser

__all__ = ["add_parser"]
