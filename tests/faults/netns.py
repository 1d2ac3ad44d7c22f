"""Two gateways in network namespaces of their own, and between them a wire that loses, delays and reorders packets.

The wire is a pair of TUN devices, one in each namespace, of which this process holds both ends: what comes out of one
it puts into the other, later, in another order, or not at all. Drops by a firewall are rules of nftables in a
namespace. What each nation's own C2 systems say takes another way, which no fault touches.

It needs root, iproute2, nftables and /dev/net/tun (`why_not`).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import selectors
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.demo.deployment import Deployed, Gateway
from tests.faults.between import reached_at

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x0001 | 0x1000

COMMAND_S: Final = 60.0
"""Seconds that one command of iproute2 or nftables may take."""


def why_not() -> str:
    """Why namespaces cannot be had here; empty where they can."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} are not here: make foreign-tools"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is not here"
    name = f"sf-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, timeout=COMMAND_S, check=False)
    if tried.returncode != 0:
        return f"no namespace can be made: {tried.stderr.decode().strip()}"
    listed = subprocess.run(
        ["ip", "netns", "exec", name, "nft", "list", "tables"], capture_output=True, timeout=COMMAND_S, check=False
    )
    run("ip", "netns", "delete", name)
    return "" if listed.returncode == 0 else f"nft does not work here: {listed.stderr.decode().strip()}"


def run(*command: str) -> None:
    """Runs a command. Raises CalledProcessError with what it said."""
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_S)


@dataclass(frozen=True, slots=True)
class Weather:
    """How the wire carries packets, in each direction."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Seconds that a packet may take longer, as drawn: those that follow may overtake it."""
    loss: float = 0.0
    """Chance that a packet is lost."""


FINE: Final = Weather()


class Wire:
    """Carries packets between two TUN devices, in a thread."""

    def __init__(self, one: int, other: int, seed: int) -> None:
        self._ends = (one, other)
        self._chance = random.Random(seed)
        self.weather = FINE
        self.lost = 0
        """Packets that were lost."""
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)

    def start(self) -> None:
        """Starts to carry."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and the devices with it."""
        os.write(self._stopped, b"x")
        self._thread.join(COMMAND_S)
        for descriptor in (*self._ends, self._stop, self._stopped):
            os.close(descriptor)

    def _carry(self) -> None:
        selector = selectors.DefaultSelector()
        for descriptor in (*self._ends, self._stop):
            selector.register(descriptor, selectors.EVENT_READ)
        underway: list[tuple[float, int, int, bytes]] = []
        number = 0
        while True:
            wait_s = max(0.0, underway[0][0] - time.monotonic()) if underway else None
            for key, _ in selector.select(wait_s):
                if key.fd == self._stop:
                    selector.close()
                    return
                packet, weather = os.read(key.fd, 65_536), self.weather
                if self._chance.random() < weather.loss:
                    self.lost += 1
                    continue
                number += 1
                due = time.monotonic() + weather.delay_s + self._chance.uniform(0, weather.jitter_s)
                to = self._ends[1] if key.fd == self._ends[0] else self._ends[0]
                heapq.heappush(underway, (due, number, to, packet))
            while underway and underway[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(underway)
                with contextlib.suppress(OSError):
                    # A device that is down loses it, as one is.
                    os.write(to, packet)


@dataclass(frozen=True, slots=True)
class Namespace:
    """One nation's namespace."""

    name: str
    device: str

    def nft(self, *rules: str) -> None:
        """Replaces the rules of the firewall at the wire by these; none: everything passes."""
        lines = ["add table inet fault", "delete table inet fault"]
        if rules:
            lines += [
                "add table inet fault",
                "add chain inet fault input { type filter hook input priority 0; policy accept; }",
                "add chain inet fault output { type filter hook output priority 0; policy accept; }",
                *(f"add rule inet fault {rule}" for rule in rules),
            ]
        subprocess.run(
            ["ip", "netns", "exec", self.name, "nft", "-f", "-"],
            input="\n".join(lines).encode() + b"\n",
            check=True,
            capture_output=True,
            timeout=COMMAND_S,
        )

    @property
    def drop_in(self) -> str:
        """The rule by which nothing that comes over the wire is taken."""
        return f'input iifname "{self.device}" drop'

    @property
    def drop_out(self) -> str:
        """The rule by which nothing goes out over it."""
        return f'output oifname "{self.device}" drop'


class NamespacedGateway(Gateway):
    """The process of a gateway in a namespace."""

    def __init__(self, place: Deployed, namespace: Namespace) -> None:
        super().__init__(place)
        self._namespace = namespace

    def start(self) -> None:
        """Starts it there."""
        self._told = False
        with (self.place.directory / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace.name, sys.executable, "-P", "-m", "gateway", "serve",
                 "--config", str(self.place.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Countries:
    """Two nations, each in its namespace, their gateways not started, and the wire between them."""

    places: Mapping[str, Deployed]
    namespaces: Mapping[str, Namespace]
    wire: Wire

    def gateway(self, node: str) -> Gateway:
        """The gateway of one of them."""
        return NamespacedGateway(self.places[node], self.namespaces[node])

    def clear(self) -> None:
        """The wire is well, and no firewall in the way."""
        self.wire.weather = FINE
        for namespace in self.namespaces.values():
            namespace.nft()


@contextlib.contextmanager
def apart(places: Mapping[str, Deployed], *, seed: int = 0) -> Iterator[Countries]:
    """Puts two nations, whose configurations are changed for that, in namespaces."""
    one, other = sorted(places)
    mark = f"{os.getpid() % 10_000}"
    namespaces, moved = dict[str, Namespace](), dict[str, Deployed]()
    with contextlib.ExitStack() as stack:
        ends = []
        for number, node in enumerate((one, other), start=1):
            namespace = Namespace(f"sf{mark}-{node.lower()}", f"sft{mark}{number}")
            namespaces[node] = namespace
            run("ip", "netns", "add", namespace.name)
            stack.callback(run, "ip", "netns", "delete", namespace.name)
            ends.append(_tun(namespace.device))
            inside = ("ip", "-n", namespace.name)
            run("ip", "link", "set", namespace.device, "netns", namespace.name)
            run(*inside, "address", "add", f"10.232.77.{number}/24", "dev", namespace.device)
            run(*inside, "link", "set", namespace.device, "up", "mtu", "1400")
            run(*inside, "link", "set", "lo", "up")
            home, away = f"sfh{mark}{number}", f"sfa{mark}{number}"
            run("ip", "link", "add", home, "type", "veth", "peer", "name", away, "netns", namespace.name)
            run("ip", "address", "add", f"10.231.{70 + number}.1/30", "dev", home)
            run("ip", "link", "set", home, "up")
            run(*inside, "address", "add", f"10.231.{70 + number}.2/30", "dev", away)
            run(*inside, "link", "set", away, "up")
            moved[node] = _moved(places[node], f"10.231.{70 + number}.2", f"10.232.77.{number}")
        wire = Wire(ends[0], ends[1], seed)
        wire.start()
        stack.callback(wire.stop)
        for dialler, dialled in ((one, other), (other, one)):
            stack.enter_context(reached_at(moved, dialler, dialled, moved[dialled].exchange))
        yield Countries(moved, namespaces, wire)


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


def _moved(place: Deployed, at_home: str, abroad: str) -> Deployed:
    """The same deployment at other addresses."""
    national = f"{at_home}:{place.national.rpartition(':')[2]}"
    exchange = f"{abroad}:{place.exchange.rpartition(':')[2]}"
    text = place.config.read_text("utf-8").replace(place.national, national).replace(place.exchange, exchange)
    place.config.write_text(text, "utf-8")
    return replace(place, national=national, exchange=exchange)
