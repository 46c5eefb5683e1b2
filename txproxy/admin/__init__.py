"""The interface for operators: what is going on, and what is to be done, over HTTP.

``server`` has the connections, ``guard`` says who may ask, ``resources`` what can be asked; all of it is carried out by
an ``operator``: the process itself, or a supervisor with its workers. ``desk`` opens and closes it as the configuration
says, and imports nothing of ``twisted.web`` where there is none. ``client`` is the other end, for ``ctl`` and ``top``.
"""
