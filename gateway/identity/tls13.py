"""Holds gRPC to TLS 1.3. Import this before `grpc`: gRPC reads its settings once, when it is first imported.

gRPC's Python interface has no setting for the lowest TLS version, and by itself accepts TLS 1.2. Its one setting that
bears on it is the environment variable `GRPC_SSL_CIPHER_SUITES`, which lists the cipher suites of TLS 1.2 and cannot
be empty; those of TLS 1.3 are always on. So the list is set to one suite that needs a pre-shared key, which gRPC can
neither give nor ask for: no certificate of any kind can then bring about a TLS 1.2 handshake, from either end.

A server checks the version again for each call (`tls.peer_from_context`). A dialer cannot, and therefore
`tls.channel_credentials` refuses to work unless `in_force()`.
"""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLE: Final = "GRPC_SSL_CIPHER_SUITES"
UNUSABLE_TLS12_SUITE: Final = "ECDHE-PSK-CHACHA20-POLY1305"

_set_in_time: Final = "grpc" not in sys.modules or os.environ.get(VARIABLE) == UNUSABLE_TLS12_SUITE
if _set_in_time:
    os.environ[VARIABLE] = UNUSABLE_TLS12_SUITE


def in_force() -> bool:
    """Whether gRPC, in this process, can negotiate nothing below TLS 1.3.

    False if `grpc` was imported before this module while the variable was not set, or if it was changed since.
    """
    return _set_in_time and os.environ.get(VARIABLE) == UNUSABLE_TLS12_SUITE
