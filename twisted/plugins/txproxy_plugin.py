"""Tells twistd of ``txproxy``, by name: the proxy itself is imported when it is asked for."""

from twisted.application.service import ServiceMaker

txproxy = ServiceMaker("txproxy", "txproxy.service", "A reverse proxy and load balancer.", "txproxy")
