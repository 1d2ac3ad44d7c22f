"""What a system is to the benchmark that compares several (`bench/compare.py`): how it is started, fed and listened to.

Every system carries reports from a C2 system at one node, the *origin*, to a C2 system at another, the *recipient*. A
second recipient gets the same reports and nobody reads there. Whatever a system is made of, it promises:

1. What is acknowledged to the producer is durable at the origin: it survives a loss of power there.
2. What the subscriber is given is durable at the recipient.
3. Nothing that was acknowledged is lost; what comes twice has the same `report_id` (the load counts it once).
4. Every connection is mutual TLS.

A system runs in processes of its own. Its clients run in processes of the benchmark (`bench/load.py`), one for each
role, so that what each costs can be told apart; `Clients` is pickled into them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from signalfire.v1 import report_pb2


class Producer(Protocol):
    """A C2 system at the origin, connected."""

    def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """Hands in reports, and gives the `report_id` of each once it is acknowledged.

        A report is taken from `reports` as soon as there is room: at most `in_flight` wait for their acknowledgement.
        One must go out as it is taken, and not wait for others to fill a batch. Ends when `reports` has ended and all
        are acknowledged. Raises SystemFailed when one is refused, or the connection breaks.
        """
        ...


class Clients(Protocol):
    """How C2 systems reach a system that runs. It is pickled: addresses and paths, and nothing that is open."""

    def producer(self) -> AbstractAsyncContextManager[Producer]:
        """A connection to the origin. Entered, it is up."""
        ...

    def subscriber(self, *, alerts: bool) -> AbstractAsyncContextManager[AsyncIterator[report_pb2.Report]]:
        """A subscription at the recipient: with `alerts` to reports of precedence FLASH, otherwise to all.

        Entered, it is in force: what is submitted from then on is given, parsed, in whatever order the system keeps. It
        may give reports of before as well, which the load passes over. There may be several at once, each of them given
        everything.
        """
        ...


class System(Protocol):
    """One system that is compared."""

    name: str
    """As `--only` and the tables name it: one word."""

    async def start(self, directory: Path) -> None:
        """Starts it, with nothing in its stores, in `directory`, which is empty: on the disk whose syncs are measured.

        Returns once a report that is submitted would reach the recipient. Raises SystemFailed when that fails; `stop`
        is called then, too.
        """
        ...

    def clients(self) -> Clients:
        """How to reach it, while it runs."""
        ...

    def processes(self) -> Mapping[str, int]:
        """The pid of each process that it is made of, while it runs, by its part: `origin`, `recipient`, `recipient 2`,
        or `broker` where one process is several of them. Their children are not counted: name each process that works.
        """
        ...

    async def stop(self) -> None:
        """Ends its processes, whatever state they are in. Its files may stay: the directory is taken away."""
        ...


class SystemFailed(Exception):
    """A system cannot be started, or does not do what it promises; the text says what and where to look."""


def cpu_seconds(pid: int) -> float:
    """Seconds of processor, user and system, that a process and all its threads have used so far; not its children.

    Raises ProcessLookupError where there is no such process.
    """
    try:
        # The process's own clock of the processor, in nanoseconds (clock_getcpuclockid(3)): /proc/<pid>/stat has the
        # same in hundredths of a second, too coarse for single alerts.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        raise ProcessLookupError(f"no process {pid}") from None
