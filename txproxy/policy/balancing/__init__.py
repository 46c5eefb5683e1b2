"""Balancing policies: small objects that put the backends that may be tried in order, best first.

A policy is called once for a request and returns what ``Policy`` says. ``catalogue`` is the file to edit for a new one.
"""
