"""Bounds of the national side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class C2Limits:
    """Bounds of the national side."""

    in_flight: int = 1024
    """Reports of one stream that may wait for their acknowledgement; beyond it the stream is read no further. A request
    of more of them is taken alone."""
    request_reports: int = 256
    """Reports of one request: some hundredths of a second of work. The contract promises so many, so it is never less.
    """
    request_bytes: int = 1 << 20
    """Bytes of one request. As above."""
    retry_after_ms: int = 500
    """What a client is told to wait when the node cannot take reports, milliseconds."""
    subscriptions: int = 64
    """Subscriptions that one client may have open at once."""
    connections: int = 512
    """Connections of all clients and officers together. Each is a file to the process, and the store needs some as
    well."""
