"""Lets C{twistd --reactor=txproxy} find the reactor; nothing of txproxy is imported until it is chosen."""

from twisted.application.reactors import Reactor

txproxy = Reactor("txproxy", "txproxy.net.epoll", "epoll(7) with direct dispatch, for the txproxy reverse proxy.")
