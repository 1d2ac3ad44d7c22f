"""A nation's gateway with everything of it that can fail: process, disk and clock.

`python -m tests.faults.machine serve --config gateway.yaml` is `tests.faults.launch`, and its wall clock can be set: on
SIGUSR1 it reads anew by how many seconds it is off, from the file that `SIGNALFIRE_CLOCK` names. On SIGUSR2 it writes
to its log what each of its tasks waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from gateway.demo.deployment import Deployed
from tests.faults import launch
from tests.faults.launch import FaultyGateway, Settings

CLOCK: Final = "SIGNALFIRE_CLOCK"

RESTART_S: Final = 0.2
"""Seconds after which a gateway that died is started again, as systemd does."""

LOOK_S: Final = 0.02


class Machine(FaultyGateway):
    """The gateway, and what happens to it. It is `wanted` while it has to run."""

    program = "tests.faults.machine"

    def __init__(self, place: Deployed, settings: Settings | None = None, *, plain: bool = False) -> None:
        """`plain`: nothing will happen to its disk or its clock, so that it runs on the real ones."""
        super().__init__(place, settings)
        self.plain = plain
        if plain:
            self.program = "gateway"
        self.wanted = False
        self.dying = False
        """Something was done to it that may end it."""
        self.starts: list[float] = []
        """When it was started, by the event loop's clock."""
        self.deaths: list[str] = []
        """Ends of its process that nobody brought about."""
        self._offset = place.directory / "clock"

    def start(self, *, restored: bool = False) -> None:
        """Starts it; `restored`: and tells it that its store is not what it was."""
        self.wanted = True
        self.arguments = ["--restored"] if restored else []
        self.starts.append(asyncio.get_running_loop().time())
        self.environment[CLOCK] = str(self._offset)
        super().start()

    def fell(self) -> bool:
        """Whether its process has ended although it has to run. What nobody brought about is kept in `deaths`."""
        if not self.wanted or self.running:
            return False
        if not self.dying:
            code = None if self._process is None else self._process.returncode
            self.deaths.append(f"the gateway of {self.place.node} ended by itself with exit code {code}")
        return True

    def kill(self) -> None:
        self.wanted = False
        if self.running:
            # One that is frozen takes no other signal; this one it does take.
            self._signal(signal.SIGCONT)
        super().kill()

    def freeze(self) -> None:
        """Its process stops where it is: sockets stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def set_clock(self, offset_s: float) -> None:
        """Its wall clock is off by so much from now on, in this process and the next."""
        self._offset.write_text(str(offset_s), encoding="ascii")
        self._signal(signal.SIGUSR1)

    def say_where(self) -> None:
        """Has it write to its log what each of its tasks waits for."""
        self._signal(signal.SIGUSR2)

    async def told(self, timeout_s: float = 20.0, **what: Any) -> dict[str, Any]:
        """`tell`, once it listens. Raises OSError where it does not in that time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return await asyncio.to_thread(self.tell, **dict(what))
            except OSError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(LOOK_S)

    async def died(self, within_s: float) -> bool:
        """Waits until its process has ended; False: it has not, in that time."""
        deadline = asyncio.get_running_loop().time() + within_s
        while self.running:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    # --- its store, while it does not run

    def back_up(self, to: Path) -> None:
        """Copies the store, with its log."""
        to.mkdir(parents=True, exist_ok=True)
        for path in self._store_files():
            if not path.name.endswith("-shm"):
                shutil.copy(path, to / path.name)

    def lose_store(self) -> None:
        """The store is gone."""
        for path in self._store_files():
            path.unlink()

    def restore(self, backup: Path) -> None:
        """The store is what it was when it was backed up."""
        self.lose_store()
        for path in backup.iterdir():
            shutil.copy(path, self.place.directory / path.name)
            (self.place.directory / path.name).chmod(0o600)

    def _store_files(self) -> list[Path]:
        return list(self.place.directory.glob(self.place.store.name + "*"))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _follow_clock(path: Path) -> None:
    """From now on `time.time_ns` and `time.time` are off by what the file says."""
    offset_ns = 0
    true_ns = time.time_ns

    def read(*_: object) -> None:
        nonlocal offset_ns
        with contextlib.suppress(OSError, ValueError):
            offset_ns = int(float(path.read_text(encoding="ascii")) * 1e9)

    if "gateway.clock" in sys.modules:
        raise RuntimeError("the gateway has taken its clock already: import it after this")
    read()
    signal.signal(signal.SIGUSR1, read)
    # Before the gateway is imported, which takes its clock from here.
    time.time_ns = lambda: true_ns() + offset_ns
    time.time = lambda: (true_ns() + offset_ns) / 1e9


def _say_where(*_: object) -> None:
    """Writes to standard error what each task waits for."""
    with contextlib.suppress(RuntimeError):  # no event loop runs
        for task in asyncio.all_tasks():
            # Not `print_stack`: it fails where gRPC's own coroutines have no source.
            places = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in task.get_stack()]
            print(f"{task.get_name()} {task.get_coro()} waits at {places}", file=sys.stderr)


def main() -> None:
    """Runs `signalfire` with the arguments of this process."""
    signal.signal(signal.SIGUSR2, _say_where)
    if CLOCK in os.environ:
        _follow_clock(Path(os.environ[CLOCK]))
    launch.main()


if __name__ == "__main__":
    main()
