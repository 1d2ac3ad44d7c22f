"""Tells the service manager that the gateway is ready, what it does, and that it is alive (sd_notify(3)).

The protocol is a datagram of ``NAME=value`` lines to the Unix socket that ``$NOTIFY_SOCKET`` names; without that
variable nothing is told. Where ``$WATCHDOG_USEC`` is set, the service manager ends a gateway of which it does not hear
``WATCHDOG=1`` for so long: it is told twice in that time, from the event loop, and only once the sequencer's thread has
done what it was doing. So a loop that is stuck, and a disk that answers no more, both end the process, and it is
started anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

LAG_EVERY_S: Final = 0.25
"""Seconds between looks at how late the event loop is."""

LAG_TOLD_S: Final = 0.5
"""Seconds of lag from which on it is logged: an alert then waits as long."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Who is told. `address` empty: nobody."""

    address: str = ""
    watchdog_s: float | None = None
    """Seconds in which it must hear of this process; None: it does not ask for that."""

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> ServiceManager:
        """As the environment of process `pid` names it."""
        every = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog_s = int(every) / 1e6 if meant and every.isdecimal() and int(every) > 0 else None
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_s)

    def tell(self, **what: str) -> None:
        """Tells it, by name. That it cannot be told is logged: it ends a gateway of which it does not hear."""
        if not self.address:
            return
        # A name that begins with @ is of the abstract kind.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        lines = "\n".join(f"{name}={' '.join(value.split())}" for name, value in what.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.sendto(lines.encode(), address)
        except OSError as error:
            log.warning("the service manager at %s cannot be told: %s", self.address, os.strerror(error.errno or 0))


async def keep_telling(
    manager: ServiceManager,
    alive: Callable[[], Awaitable[None]],
    status: Callable[[], str],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tells `manager`, without end, how the gateway is, each time that `alive` has returned."""
    every = 1.0 if manager.watchdog_s is None else manager.watchdog_s / 2
    told = ""
    while True:
        await alive()
        now = status()
        if manager.watchdog_s is not None:
            manager.tell(WATCHDOG="1")
        if now != told:
            manager.tell(STATUS=now)
            told = now
        await sleep(every)


async def measure_lag(
    seen: Callable[[float], object],
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Gives `seen` how much later than it should the event loop went on, seconds, without end."""
    while True:
        due = monotonic() + LAG_EVERY_S
        await sleep(LAG_EVERY_S)
        lag = max(0.0, monotonic() - due)
        seen(lag)
        if lag >= LAG_TOLD_S:
            log.warning("the event loop was held up for %.1f s", lag)
