"""Signalfire: a gateway at a nation's border that shares missile warnings directly with partners."""

# gRPC reads its settings when it is first imported: TLS 1.3 has to be required before that.
from gateway.identity import tls13 as tls13

__version__ = "0.1.0"
