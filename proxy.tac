"""txproxy as a Twisted application: ``twistd -ny proxy.tac``. Copy this file and edit FLAGS.

``twistd --reactor=txproxy -ny proxy.tac`` serves the same on the faster reactor; without ``-n`` it becomes a daemon.
"""

from twisted.application.service import Application

from txproxy.service import Options, makeService

# What would stand behind `twistd txproxy` on a command line. Here: one port in front of one backend.
FLAGS = ["--listen", "127.0.0.1", "--port", "8080", "--backend", "127.0.0.1:8081"]
# With a configuration file instead (a relative path starts at the folder where twistd is run):
# FLAGS = ["-c", "/etc/txproxy/proxy.toml"]

options = Options()
options.parseOptions(FLAGS)

application = Application("txproxy")
makeService(options).setServiceParent(application)
