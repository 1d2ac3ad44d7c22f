"""Other people's servers as processes of the benchmark: found, started on ports of their own, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.system import SystemFailed

STOP_S: Final = 10.0
"""Seconds that a server which was told to end may take before it is killed."""
LISTEN_S: Final = 90.0
"""Seconds that a server may take until it listens. An Erlang machine takes some ten."""
LOG_TAIL: Final = 2000
"""Characters of a server's log that go into the message when it fails."""


class NotHere(SystemFailed):
    """A system needs what is not on this machine; the text says what, and how to get it."""


def found(program: str, *places: str) -> str:
    """Path of a server's program: what `make bench-tools` fetched, what stands in `places`, or what is on the path.

    Raises NotHere.
    """
    # Debian keeps servers in /usr/sbin, which is on the path of root alone.
    path = os.pathsep.join((str(Path(sys.prefix, "bench")), *places, os.environ.get("PATH", ""), "/usr/sbin"))
    program_found = shutil.which(program, path=path)
    if program_found is None:
        raise NotHere(f"{program} is not on this machine: `make bench-tools` installs it")
    return program_found


def free_ports(count: int) -> Sequence[int]:
    """Ports that nothing listens on now. They are let go before the servers take them, which is good enough here."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """A process that runs, and its log."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        self._name = log.stem
        with log.open("wb") as output:
            # A session of its own: a signal from the terminal is not for it, and it ends with all that it started.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process itself; children are below it."""
        return self._process.pid

    async def listens(self, port: int) -> None:
        """Returns when it takes connections at `port`. Raises SystemFailed when it ends before, or takes LISTEN_S."""
        try:
            async with asyncio.timeout(LISTEN_S):
                while True:
                    if self._process.poll() is not None:
                        raise SystemFailed(f"{self._name} ended with {self._process.returncode}: {self._said()}")
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except ConnectionRefusedError:
                        await asyncio.sleep(0.05)
                        continue
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
                    return
        except TimeoutError:
            raise SystemFailed(f"{self._name} did not listen within {LISTEN_S:.0f} s: {self._said()}") from None

    async def stop(self) -> None:
        """Ends it, and what it started."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)

    def _said(self) -> str:
        return f"see {self._log}, which ends with: {self._log.read_text(errors='replace')[-LOG_TAIL:].strip()}"
