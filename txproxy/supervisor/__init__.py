"""Several processes that serve the same ports: a supervisor, which serves nothing, and its workers.

The supervisor binds the sockets, loads the certificates and forks; see ``supervisor``. Each worker is a whole proxy, a
``ProxyService`` with a connection to the supervisor; see ``worker``. What they say to each other is in ``messages``.
"""
