"""Signalfire: a gateway at a nation's border that shares missile warnings directly with partners."""

import os

# gRPC reads its settings when it is first imported. Its own log lines go to standard error in a form of their own and
# say nothing that the status of the call does not: they are off unless asked for. And TLS 1.3 has to be required.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
from gateway.identity import tls13 as tls13

__version__ = "0.1.0"
