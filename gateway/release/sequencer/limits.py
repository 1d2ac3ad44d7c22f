"""The bounds of what waits and of what is committed: each with its unit, and why it is as it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """Bounds of one commit and of what may wait for it."""

    steps: int = 1024
    """Steps a commit: bounds how long the first of them waits for the last."""
    bytes: int = 1 << 20
    """Bytes a commit: keeps each ledger's segment within one gRPC message."""
    fill_ms: float = 16.0
    """Milliseconds after which no further step goes into a commit. One that gives way to alerts is ended by one that
    comes meanwhile, which then waits for all of it to be written."""
    queue: int = 8192
    """Reports of C2 systems that may wait for their commit. ROUTINE ones may fill half of it, and FLASH all."""
    queue_bytes: int = 64 << 20
    """Bytes of reports that may wait."""
    reopen_s: float = 0.5
    """Pause between tries to open a store that failed, seconds."""
