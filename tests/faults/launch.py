"""A gateway's process on a disk that fails: `python -m tests.faults.launch serve --config gateway.yaml`.

It is `signalfire` itself, with `tests.faults.vfs` as SQLite's default. Two variables of the environment tell the disk:

- ``SIGNALFIRE_DISK``: a JSON object with the disk's settings (`Settings`).
- ``SIGNALFIRE_DISK_SOCKET``: path of a Unix socket on which it is told more while it runs, one JSON object a line, each
  answered with one: `FaultyGateway.tell` speaks that.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.demo.deployment import Deployed, Gateway
from tests.faults.disk import Disk, Fault, Op, What
from tests.faults.vfs import register_default

SETTINGS: Final = "SIGNALFIRE_DISK"
SOCKET: Final = "SIGNALFIRE_DISK_SOCKET"
ANSWER_S: Final = 60.0
"""Seconds in which a process that runs answers."""

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the disk of a process is from its start on. `faults` count from then."""

    seed: int = 0
    volatile: bool = True
    forgets: bool = False
    faults: Sequence[Fault] = ()
    full: bool = False
    read_only: bool = False

    def encode(self) -> str:
        """As it stands in the environment."""
        return json.dumps({**asdict(self), "faults": [_fault_as_json(fault) for fault in self.faults]})

    @classmethod
    def decode(cls, text: str) -> Settings:
        """The same read."""
        read = json.loads(text)
        return cls(**{**read, "faults": tuple(_fault_of_json(fault) for fault in read.get("faults", ()))})

    def disk(self) -> Disk:
        """The disk. A loss of power ends the process."""
        disk = Disk(self.seed, volatile=self.volatile, forgets=self.forgets, dies=True)
        disk.full, disk.read_only = self.full, self.read_only
        disk.arm(*self.faults)
        return disk


def _fault_as_json(fault: Fault) -> dict[str, Any]:
    return {**asdict(fault), "ops": sorted(fault.ops)}


def _fault_of_json(read: Mapping[str, Any]) -> Fault:
    return Fault(**{**read, "what": What(read["what"]), "ops": frozenset(map(Op, read["ops"]))})


class FaultyGateway(Gateway):
    """The process of one nation's gateway, on a disk of `settings` from its next start on."""

    program = "tests.faults.launch"
    """The module that it runs."""

    def __init__(self, place: Deployed, settings: Settings | None = None) -> None:
        super().__init__(place)
        self.settings = settings or Settings()
        self.environment: dict[str, str] = {}
        """What its environment has beside."""
        self.arguments: list[str] = []
        """What its command line has beside."""

    @property
    def _socket(self) -> Path:
        return self.place.directory / "disk.sock"

    def start(self) -> None:
        """Starts it; its log is appended to `gateway.log` in the nation's directory."""
        self._told = False
        self._socket.unlink(missing_ok=True)
        with (self.place.directory / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", self.program),
                    *("serve", "--config", str(self.place.config), *self.arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={
                    **os.environ,
                    **self.environment,
                    "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'proto'}",
                    SETTINGS: self.settings.encode(),
                    SOCKET: str(self._socket),
                },
            )

    def tell(self, **what: Any) -> dict[str, Any]:
        """Tells the disk of the running process: `arm=[Fault, ...]`, `full=`, `read_only=`, `failing=[Op, ...]`,
        `mend=True`, `power_cut=<seed>`. Returns its counts, by operation, and the faults it has met, by kind; nothing
        where the process was ended by that. Raises OSError when it does not run.
        """
        if "arm" in what:
            what["arm"] = [_fault_as_json(fault) for fault in what["arm"]]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(self._socket))
            connection.sendall(json.dumps(what).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        return dict(json.loads(line)) if line else {}

    def wait_ended(self, timeout_s: float) -> int:
        """Waits until the process has ended, by a fault of its disk or otherwise; returns its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)


def _listen(disk: Disk, path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as lines:
                for line in lines:
                    _obey(disk, json.loads(line))
                    met = {str(what): count for what, count in disk.met.items()}
                    lines.write(json.dumps({"counts": dict(disk.counts), "met": met}).encode() + b"\n")
                    lines.flush()

    threading.Thread(target=serve, name="disk", daemon=True).start()


def _obey(disk: Disk, told: Mapping[str, Any]) -> None:
    if told.get("mend"):
        disk.mend()
    disk.arm(*(_fault_of_json(fault) for fault in told.get("arm", ())))
    disk.full = told.get("full", disk.full)
    disk.read_only = told.get("read_only", disk.read_only)
    if "failing" in told:
        disk.failing = frozenset(map(Op, told["failing"]))
    if "power_cut" in told:
        disk.power_cut(told["power_cut"])


def main() -> None:
    """Runs `signalfire` with the arguments of this process."""
    from gateway.cli import main as signalfire

    disk = Settings.decode(os.environ.get(SETTINGS, "{}")).disk()
    # SQLite forgets a VFS that nothing here holds.
    unregister = register_default(disk)
    if SOCKET in os.environ:
        _listen(disk, os.environ[SOCKET])
    try:
        signalfire()
    finally:
        unregister()


if __name__ == "__main__":
    main()
