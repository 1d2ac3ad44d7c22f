"""Several nations on one machine: PKI, policies, configurations, and the gateways' processes.

What is written is what a real deployment has, one directory a nation::

    jpn/pki/             root, authorities, signed trust bundle (of a real nation: offline, far from the rest)
    jpn/keys/            the gateway's keys and certificate
    jpn/partners/        the bundles of its partners
    jpn/policy/          its release policy
    jpn/officers/        the keys with which its officers sign orders (of a real nation: each at its officer's)
    jpn/roster.yaml      the roster of those officers;  jpn/first.order: their order that puts the policy in force
    jpn/c2/sensors/      a C2 system that pushes;  jpn/c2/command/: one that receives
    jpn/officer/         the security officer's certificate
    jpn/gateway.yaml     the configuration
    jpn/store.db         reports, decisions and ledgers
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ruamel.yaml import YAML

from gateway.client import Client, Credentials
from gateway.demo.errors import DemoError
from gateway.identity import issuing, nation, next_bundle
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from policy import digest_of, read_files
from policy.approve import (
    Activate,
    Order,
    Roster,
    SignedOrder,
    default_thresholds,
    encode,
    parse_officer,
    parse_roster,
    sign,
    write_orders,
)

GATEWAY_NAME = "a"
PUSHER = "sensors"
READER = "command"
OFFICER = "officer"
OFFICERS = ("alice", "bob", "carol")
"""Officers of every nation: two put a policy in force, one suspends a partner, three remove an invariant."""

ORDER_LIFETIME = timedelta(days=30)
"""For which the first order can be put in force: as long as a deployment may lie before it is started."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One nation as it lies on disk, and where its gateway listens."""

    node: str
    directory: Path
    national: str
    exchange: str

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.directory / "gateway.yaml"

    @property
    def policy(self) -> Path:
        """The nation's release policy."""
        return self.directory / "policy"

    @property
    def roster(self) -> Path:
        """The roster of the nation's officers."""
        return self.directory / "roster.yaml"

    @property
    def order(self) -> Path:
        """Their order that puts the policy in force."""
        return self.directory / "first.order"

    def officer_key(self, name: str) -> Path:
        """The key with which an officer signs."""
        return self.directory / "officers" / f"{name}.key"

    @property
    def bundle(self) -> Path:
        """The nation's own trust bundle, as its gateway announces it."""
        return self.directory / "bundle.note"

    @property
    def store(self) -> Path:
        """The gateway's store."""
        return self.directory / "store.db"

    def client(self, name: str) -> Client:
        """A connection as one of the nation's C2 systems."""
        return self._client(self.directory / "c2" / name)

    def officer(self) -> Client:
        """A connection as the nation's security officer."""
        return self._client(self.directory / "officer")

    def _client(self, directory: Path) -> Client:
        server = dns_name(SpiffeId.of(self.node, Role.GATEWAY, GATEWAY_NAME))
        return Client(Credentials.from_directory(directory), self.national, server, on_trouble=lambda _: None)


def deploy(
    directory: Path,
    policies: Mapping[str, Path],
    *,
    now: datetime,
    max_age_s: float,
    changes: Mapping[str, object] | None = None,
) -> dict[str, Deployed]:
    """Writes a deployment of every node in `policies` (its release policy each), all of them partners.

    `max_age_s` is how old a report may be: a replay of history needs more than a live system. `changes` are further
    keys of every configuration. Raises IdentityError or OSError.
    """
    ports = iter(_free_ports(2 * len(policies)))
    deployed = {
        node: Deployed(node, directory / node.lower(), f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}")
        for node in policies
    }
    for node, place in deployed.items():
        pki = place.directory / "pki"
        place.directory.mkdir(parents=True)
        nation.create_nation(pki, node, now=now)
        issuing.issue_gateway(pki, GATEWAY_NAME, place.directory / "keys", now=now, address=place.exchange)
        for name in (PUSHER, READER):
            issuing.issue_c2(pki, name, place.directory / "c2" / name, now=now)
        issuing.issue_officer(pki, OFFICER, place.directory / "officer", now=now)
        next_bundle.write_bundle(pki, now=now)
        _appoint(place)
    for node, place in deployed.items():
        shutil.copytree(policies[node], place.policy)
        shutil.copy(place.directory / "pki" / "bundle.note", place.bundle)
        approve(place, now=now)
        partners = place.directory / "partners"
        partners.mkdir()
        for other, elsewhere in deployed.items():
            if other != node:
                shutil.copy(elsewhere.directory / "pki" / "bundle.note", partners / f"{other}.bundle.note")
        with place.config.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(_configuration(place, deployed, max_age_s) | dict(changes or {}), file)
    return deployed


def approve(place: Deployed, *, now: datetime) -> None:
    """Two officers sign the policy as it lies there, as the first order of the nation's first start."""
    roster = parse_roster(str(place.roster), place.roster.read_bytes())
    action = Activate(digest_of(read_files(place.policy)))
    order = SignedOrder(encode(Order(place.node, 1, roster.digest, now, now + ORDER_LIFETIME, action)))
    for name in OFFICERS[:2]:
        key = read_officer_key(place.officer_key(name))
        order = sign(order, key.name, key.node, key.seed)
    place.order.write_bytes(write_orders([order]))


def _appoint(place: Deployed) -> None:
    """Makes the officers' keys, and the roster that names them."""
    keys = [create_officer_key(place.directory / "officers", place.node, name) for name in OFFICERS]
    officers = tuple(parse_officer(key.vkey)[1] for key in keys)
    place.roster.write_text(Roster(place.node, officers, default_thresholds(len(officers))).text(), encoding="utf-8")


def _configuration(place: Deployed, deployed: Mapping[str, Deployed], max_age_s: float) -> dict[str, object]:
    everything = ["LIVE", "EXERCISE", "TEST"]
    return {
        "node": place.node,
        "keys": "keys",
        "trust": {"root": nation.read_root_vkey(place.directory / "pki"), "bundle": place.bundle.name},
        "store": "store.db",
        "roster": "roster.yaml",
        "policy": "policy",
        "order": "first.order",
        "national": {"listen": place.national},
        "exchange": {"listen": place.exchange},
        "partners": {
            other: {
                "root": nation.read_root_vkey(elsewhere.directory / "pki"),
                "bundle": f"partners/{other}.bundle.note",
            }
            for other, elsewhere in deployed.items()
            if other != place.node
        },
        "clients": {
            PUSHER: {
                "push": {
                    "stations": ["*"],
                    "kinds": ["LaunchDetection", "Track", "ImpactPrediction", "Correction", "Cancellation", "AllClear"],
                    "traffic_classes": ["EXERCISE", "TEST"],
                    "precedences": ["FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE"],
                    "ceiling": "TOP_SECRET",
                }
            },
            READER: {
                "read": {
                    "traffic_classes": everything,
                    "ceiling": "SECRET",
                    "caveats": ["SPACE-DERIVED", "KOR-USA ONLY", "SANITISED"],
                }
            },
        },
        # In a container, and on many a machine where this is tried out, no kernel says that its clock is right.
        "clock": {"synchronised": "not_asked"},
        "limits": {"reports": {"flag_behind_s": max_age_s, "max_age_s": max_age_s}},
    }


def _free_ports(count: int) -> Sequence[int]:
    """Ports that nothing listens on now. They are let go before the gateways take them, which is good enough here."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


STOP_S = 15.0
"""Seconds that a gateway which was told to stop may take before it is killed."""


class Gateway:
    """The process of one nation's gateway. Whoever starts it also ends it, with `stop` or `kill`."""

    def __init__(self, place: Deployed) -> None:
        self.place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False

    def start(self) -> None:
        """Starts it; its log is appended to `gateway.log` in the nation's directory."""
        self._told = False
        with (self.place.directory / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                # -P: a directory `policy/` beside the configuration must not stand in for our package.
                [sys.executable, "-P", "-m", "gateway", "serve", "--config", str(self.place.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own: Ctrl-C at the terminal reaches whoever started it, who then stops it in order.
                process_group=0,
            )

    async def ready(self, timeout_s: float = 60.0) -> None:
        """Returns when it answers. Raises DemoError when it ends instead, or does not answer in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        officer = self.place.officer()
        while True:
            if not self.running:
                raise DemoError(
                    f"The gateway of {self.place.node} ended at its start",
                    where=str(self.place.directory / "gateway.log"),
                    mend="Read the end of its log.",
                )
            try:
                await officer.status()
            except ConnectionError:
                if asyncio.get_running_loop().time() > deadline:
                    raise DemoError(
                        f"The gateway of {self.place.node} did not answer within {timeout_s:g} s",
                        where=str(self.place.directory / "gateway.log"),
                        mend="Read the end of its log.",
                    ) from None
                await asyncio.sleep(0.1)
            else:
                return

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The number of the process, once it was started."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """Ends it as a crash would: it is told nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def tell_to_stop(self) -> None:
        """Tells it to stop, once, and does not wait."""
        # A second signal could meet it when its handler is gone already, and would then look like a crash.
        if self._process is not None and not self._told:
            self._told = True
            self._process.terminate()

    def stop(self) -> int | None:
        """Tells it to stop, and waits; returns its exit code. Whatever happens meanwhile, it is gone afterwards."""
        if self._process is None:
            return None
        self.tell_to_stop()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=STOP_S)
        finally:
            self.kill()
        return self._process.returncode
