"""Another nation's gateway in JavaScript, written from the contract alone, follows a real gateway.

Japan's gateway is ours, a process of its own. The United States have no other gateway than `partner.mjs`, which holds
the keys and the certificate that the nation issued.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from signalfire.v1 import c2_pb2, report_pb2

from gateway.cli import main
from gateway.demo.deployment import GATEWAY_NAME, PUSHER
from gateway.identity import nation
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.spiffe import Role, SpiffeId
from tests.cli.conftest import World, make
from tests.client.reports import fresh
from tests.node.rotating import SIGNING, People
from tests.patience import PATIENCE_S

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
FLASH, WITNESS = "signalfire/v1/JPN/USA/flash/1", "signalfire/v1/JPN/witness/1"
ALTERED = 3
"""Entries of the vectors of which the program flips a bit."""

Event = dict[str, Any]


@pytest.fixture(scope="module")
def environment(packages: Path) -> dict[str, str]:
    """In which the programs run; skips where Node.js is too old for the packages."""
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < (20, 19):
        pytest.skip(f"Node.js {version} is here, and the packages need 20.19 or later")
    return os.environ | {"SIGNALFIRE_NODE_PACKAGES": str(packages)}


# --- the gateway in JavaScript


@dataclass(slots=True)
class Partner:
    """The process, and every line that it has printed."""

    process: subprocess.Popen[str]
    events: list[Event] = field(default_factory=list)
    _reader: threading.Thread = field(init=False)
    _grown: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, environment: dict[str, str], config: Path) -> Partner:
        """Starts it; its standard error goes where that of the tests goes."""
        command = ["node", str(HERE / "partner.mjs"), "follow", str(config)]
        return cls(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._grown:
                    self.events.append(json.loads(line))
                    self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def prints(self, what: Callable[[Event], bool], after: int = 0) -> Event:
        """The first event of which `what` holds, of those from number `after` on, once it has come."""
        until = time.monotonic() + PATIENCE_S
        with self._grown:
            while True:
                found = next((event for event in self.events[after:] if what(event)), None)
                if found is not None:
                    return found
                assert not self._ended, f"it ended: {self.events[-5:]}"
                assert self._grown.wait(until - time.monotonic()), f"not printed: {self.events[-5:]}"

    def report(self, report_id: str) -> Event:
        """The batch that brought a report."""
        return self.prints(lambda event: any(report_id == _id(said) for said in event.get("said", ())))

    def command(self, line: str) -> None:
        """Gives it a line on standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def stop(self) -> int:
        """Ends it, and returns its exit code."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()


def _id(said: Event) -> str:
    return str(said["content"].get("report", {}).get("report_id", ""))


def is_event(name: str, **values: Any) -> Callable[[Event], bool]:
    """Whether an event is of that name, and has these values."""
    return lambda event: event["event"] == name and all(event.get(key) == value for key, value in values.items())


# --- two nations


@dataclass(slots=True)
class Nations:
    """Japan with its gateway, and the United States with theirs."""

    world: World
    environment: dict[str, str]
    config: Path
    partner: Partner

    def push(self, **changes: Any) -> report_pb2.Report:
        """A report that Japan's C2 system pushes, and Japan's policy releases to the United States."""
        report = fresh(0, **changes)
        report.report_id = str(uuid.uuid4())
        asyncio.run(self._push(report))
        return report

    async def _push(self, report: report_pb2.Report) -> None:
        async with asyncio.timeout(PATIENCE_S):
            async for result in self.world.places["JPN"].client(PUSHER).submit([report]):
                assert result.accepted, result

    def status(self) -> c2_pb2.GetStatusResponse:
        """What Japan's gateway says of itself."""
        return asyncio.run(self.world.places["JPN"].officer().status())

    def until(self, condition: Callable[[c2_pb2.GetStatusResponse], bool]) -> c2_pb2.GetStatusResponse:
        """The first status of which `condition` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status

    def ask_all(self, command: str, *arguments: object) -> list[Event]:
        """Everything that another command of the partner's program prints. Raises AssertionError where it fails."""
        line = ["node", str(HERE / "partner.mjs"), command, str(self.config), *map(str, arguments)]
        done = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(each) for each in done.stdout.splitlines()]

    def ask(self, command: str, *arguments: object) -> Event:
        """The one thing that it prints."""
        (event,) = self.ask_all(command, *arguments)
        return event

    def restart(self, meanwhile: Callable[[], object]) -> int:
        """Ends the partner's gateway, does something, and starts it again; returns its exit code."""
        code = self.partner.stop()
        meanwhile()
        self.partner = Partner.start(self.environment, self.config)
        return code


def held(status: c2_pb2.GetStatusResponse, line: str) -> c2_pb2.LedgerStatus:
    """One of Japan's own ledgers."""
    return next(ledger for ledger in status.ledgers if ledger.origin == line and not ledger.replica)


def write_config(world: World) -> Path:
    """The configuration of the gateway in JavaScript: what the nation issued, with its private keys in hexadecimal."""
    own, other = world.places["USA"], world.places["JPN"]
    ring = Keyring.load(own.directory / "keys")
    store = own.directory / "javascript"
    store.mkdir(mode=0o700)
    config = {
        "node": "USA",
        "spiffe_id": str(SpiffeId.of("USA", Role.GATEWAY, GATEWAY_NAME)),
        "root": nation.read_root_vkey(own.directory / "pki"),
        "bundle": str(own.bundle),
        "tls": {
            "key": str(own.directory / "keys" / "gateway.key.pem"),
            "certificate": str(own.directory / "keys" / "gateway.crt.pem"),
        },
        "keys": {
            "log": ring.default(KeyKind.LOG).secret.hex(),
            "receipt": ring.default(KeyKind.RECEIPT).secret.hex(),
            "sealing": [
                {"mlkem768": key.parts["mlkem768_seed"].hex(), "x25519": key.parts["x25519_private"].hex()}
                for key in ring.keys[KeyKind.SEALING].values()
            ],
        },
        "partner": {
            "node": "JPN",
            "root": nation.read_root_vkey(other.directory / "pki"),
            "bundle": str(own.directory / "partners" / "JPN.bundle.note"),
        },
        "store": str(store),
    }
    path = store / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def nations(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nations]:
    world = make(tmp_path_factory.mktemp("partner"))
    config = write_config(world)
    gateway = world.gateways["JPN"]
    made = None
    try:
        gateway.start()
        asyncio.run(gateway.ready(PATIENCE_S))
        made = Nations(world, environment, config, Partner.start(environment, config))
        yield made
    finally:
        if made is not None:
            made.partner.stop()
        gateway.stop()


# --- the vectors


def test_every_vector_is_accepted_or_refused_as_it_should_be_and_a_tampered_batch_is_refused(
    environment: dict[str, str],
) -> None:
    done = subprocess.run(
        ["node", str(HERE / "vectors.mjs"), str(VECTORS)],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    checked = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [each for each in checked if not each["held"]]
    count = Counter((each["file"], each["due"]) for each in checked)
    for name in ("entry", "checkpoint", "cosignature", "statement", "proof", "export", "onward"):
        vectors = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
        openings = len(vectors.get("readers", ()))
        assert count[name, "accepted"] == len(vectors.get("accepted", "1")) + openings, name
        assert count[name, "refused"] == len(vectors["refused"]) + (ALTERED if name == "entry" else 0), name
    trees = json.loads((VECTORS / "rfc6962.json").read_text("utf-8"))
    assert count["rfc6962", "accepted"] == sum(len(trees[name]) for name in ("roots", "inclusion")) + len(
        trees["notes"]["notes"]
    )
    assert min(count["batch", "accepted"], count["batch", "refused"]) > 1


# --- live


def test_a_report_arrives_in_javascript_and_the_gateway_holds_its_receipt(nations: Nations) -> None:
    pushed = nations.push()
    batch = nations.partner.report(pushed.report_id)
    (said,) = (each for each in batch["said"] if _id(each) == pushed.report_id)
    report = said["content"]["report"]
    assert (batch["ledger"], said["kind"], batch["unusable"]) == (FLASH, "report", [])
    assert report["originator_node"] == "JPN"
    assert report["traffic_class"] == "TRAFFIC_CLASS_EXERCISE"
    assert report["launch_detection"]["launch_point"]["latitude_deg"] == 39.2
    assert int(report["report_time"]["seconds"]) == pushed.report_time.seconds
    status = nations.until(lambda status: held(status, FLASH).receipt_size == held(status, FLASH).size)
    assert str(held(status, FLASH).size) == batch["size"]
    (partner,) = status.partners
    assert (partner.node, partner.followed) == ("USA", True)


def test_a_report_that_may_go_onward_is_put_together_from_its_parts(nations: Nations) -> None:
    pushed = nations.push(marking__onward_release=["KOR"])
    batch = nations.partner.report(pushed.report_id)
    (said,) = (each for each in batch["said"] if _id(each) == pushed.report_id)
    assert said["parts"] > 5
    report = said["content"]["report"]
    assert report["marking"]["onward_release"] == ["KOR"]
    assert report["marking"]["classification"] == "CLASSIFICATION_SECRET"
    assert report["launch_detection"]["launch_point"]["latitude_deg"] == 39.2
    assert report["launch_detection"]["sensor_modality"]


def test_the_post_quantum_line_and_the_witness_ledger_hold_in_javascript(nations: Nations) -> None:
    batch = nations.partner.report(nations.push().report_id)
    nations.partner.prints(is_event("cosignature", ledger=FLASH, kind="pq", size=batch["size"]))
    nations.partner.prints(is_event("cosignature", ledger=WITNESS, kind="pq"))
    assert nations.partner.prints(is_event("batch", ledger=WITNESS))["said"] == []
    status = nations.until(lambda status: held(status, WITNESS).receipt_size == held(status, WITNESS).size)
    assert held(status, WITNESS).size > 0


def test_heartbeats_are_heard_and_echoed(nations: Nations) -> None:
    first = nations.partner.prints(is_event("heartbeat"))
    later = nations.partner.prints(lambda event: event["event"] == "heartbeat" and event["round_trip_ns"] != "0")
    assert int(later["counter"]) > int(first["counter"])
    assert abs(later["offset_ms"]) < 1000
    batch = nations.partner.report(nations.push().report_id)
    nations.partner.prints(
        lambda event: event["event"] == "heartbeat" and int(event["heads"].get(FLASH, 0)) >= int(batch["size"])
    )


def test_a_stream_that_was_lost_goes_on_where_it_was(nations: Nations) -> None:
    before = nations.partner.report(nations.push().report_id)
    seen = len(nations.partner.events)
    nations.partner.command("reconnect")
    opened = nations.partner.prints(is_event("opened", ledger=FLASH), after=seen)
    assert int(opened["from"]) >= int(before["size"])
    assert nations.partner.report(nations.push().report_id)["first"] >= int(opened["from"])
    nations.partner.prints(is_event("heartbeat"), after=seen)


def test_a_partner_that_was_away_goes_on_from_disk_and_bundles_travel_in_band_both_ways(nations: Nations) -> None:
    japan, states = (People(nations.world.places[node]) for node in ("JPN", "USA"))
    before = nations.partner.report(nations.push().report_id)
    away: list[report_pb2.Report] = []

    def meanwhile() -> None:
        japan.announce()
        states.announce()
        away.append(nations.push())

    assert nations.restart(meanwhile) == 0
    opened = nations.partner.prints(is_event("opened", ledger=FLASH))
    assert int(opened["from"]) >= int(before["size"])
    assert nations.partner.report(away[0].report_id)["first"] >= int(opened["from"])
    assert nations.partner.prints(is_event("bundle", node="JPN"))["sequence"] == "2"
    assert nations.partner.prints(is_event("proven", told=True))["believes"] == "1"

    seen = len(nations.partner.events)
    nations.partner.command("reconnect")
    assert nations.partner.prints(is_event("proven", purpose="follow"), after=seen)["believes"] == "2"


def test_the_partner_goes_on_while_the_gateway_changes_its_keys(nations: Nations) -> None:
    seen = len(nations.partner.events)
    People(nations.world.places["JPN"]).rotate(SIGNING)
    nations.partner.prints(is_event("bundle", node="JPN"), after=seen)
    nations.partner.prints(is_event("cosignature", ledger=FLASH, kind="anchor"), after=seen)
    batch = nations.partner.report(nations.push().report_id)
    nations.partner.prints(is_event("cosignature", ledger=FLASH, kind="pq", size=batch["size"]), after=seen)
    nations.until(lambda status: str(held(status, FLASH).receipt_size) == batch["size"])
    assert not [event for event in nations.partner.events[seen:] if event["event"] == "lost"]


def run_ledger(*arguments: object) -> None:
    result = CliRunner().invoke(main, ["ledger", *map(str, arguments)])
    assert result.exit_code == 0, result.output


def test_a_proof_file_and_an_exported_ledger_hold_in_javascript(nations: Nations, tmp_path: Path) -> None:
    pushed = nations.push()
    size = int(nations.partner.report(pushed.report_id)["size"])
    nations.until(lambda status: min(held(status, FLASH).receipt_size, held(status, FLASH).pq_size) >= size)
    out, other, folder = tmp_path / "release.tlog-proof", tmp_path / "other.tlog-proof", tmp_path / "folder"
    officer = nations.world.options("JPN", "officer")
    run_ledger("prove", *officer, "--report", pushed.report_id, "--partner", "USA", "--out", out)
    proof = nations.ask("prove", out)
    assert (proof["ledger"], proof["receipt"], proof["postQuantum"]) == (FLASH, True, True)
    assert proof["content"]["report"]["report_id"] == pushed.report_id

    lines = out.read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("index "))
    altered = base64.b64encode(bytes(32)).decode("ascii")
    other.write_text("\n".join([*lines[: at + 1], altered, *lines[at + 2 :], ""]), "utf-8")
    with pytest.raises(AssertionError, match="the path leads to another root"):
        nations.ask("prove", other)

    run_ledger("export", folder, "--config", nations.world.places["JPN"].config, "--partner", "USA")
    assert nations.ask("export", folder, FLASH)["size"] >= size
    tile = next((folder / FLASH / "tile" / "0").glob("000*/*"))
    tile.write_bytes(bytes(len(tile.read_bytes())))
    with pytest.raises(AssertionError, match="is not what the entries give"):
        nations.ask("export", folder, FLASH)


def test_the_partner_compares_what_both_hold(nations: Nations) -> None:
    before = int(nations.partner.report(nations.push().report_id)["size"])
    compared = {each["ledger"]: each for each in nations.ask_all("inspect")[1:]}
    assert {FLASH, WITNESS} <= set(compared)
    assert compared[FLASH]["size"] >= before
    assert all(each["agrees"] and each["here"] > 0 for each in compared.values())


def test_what_the_partner_cannot_use_is_told_to_the_gateway_and_said_again(nations: Nations) -> None:
    said = nations.config.read_text("utf-8")
    lost = json.loads(said)
    lost["keys"]["sealing"] = [{"mlkem768": os.urandom(64).hex(), "x25519": os.urandom(32).hex()}]
    assert nations.restart(lambda: nations.config.write_text(json.dumps(lost), "utf-8")) == 0
    nations.push()
    batch = nations.partner.prints(lambda event: bool(event.get("unusable")))
    log = nations.world.places["JPN"].directory / "gateway.log"
    told = f"USA cannot use {FLASH} entry {batch['unusable'][0]['index']}: {batch['unusable'][0]['reason']}"
    nations.until(lambda status: str(held(status, FLASH).receipt_size) == batch["size"] and told in log.read_text())
    assert nations.restart(lambda: None) == 0
    nations.partner.prints(is_event("opened", ledger=FLASH))
    assert nations.restart(lambda: nations.config.write_text(said, "utf-8")) == 0
    nations.partner.report(nations.push().report_id)
    assert not [event for event in nations.partner.events if event["event"] == "lost"]


def test_the_partner_follows_into_the_next_generation_when_the_gateway_has_lost_what_it_signed(
    nations: Nations, tmp_path: Path
) -> None:
    place, gateway = nations.world.places["JPN"], nations.world.gateways["JPN"]
    gateway.stop()
    copies = [shutil.copy2(file, tmp_path) for file in sorted(place.directory.glob("store.db*"))]
    gateway.start()
    asyncio.run(gateway.ready(PATIENCE_S))
    lost = nations.partner.report(nations.push().report_id)
    gateway.stop()
    for file in place.directory.glob("store.db*"):
        file.unlink()
    for copy in copies:
        shutil.copy2(copy, place.directory)
    gateway.start()
    asyncio.run(gateway.ready(PATIENCE_S))

    ended = nations.partner.prints(is_event("ended", ledger=FLASH))
    assert ended["successor"] == FLASH.removesuffix("1") + "2"
    batch = nations.partner.prints(is_event("batch", ledger=ended["successor"]))
    succession = batch["said"][0]
    assert (succession["index"], succession["kind"]) == (1, "succession")
    assert succession["content"]["succession"]["reason"] == "SUCCESSION_REASON_LOST_TAIL"
    assert int(succession["content"]["succession"]["agreed_size"]) < int(lost["size"])
    assert nations.partner.report(nations.push().report_id)["ledger"] == ended["successor"]
    seen = len(nations.partner.events)
    nations.partner.prints(is_event("heartbeat"), after=seen)

    def lose() -> None:
        for path in nations.config.parent.glob("[!c]*"):
            path.unlink()

    assert nations.restart(lose) == 0
    assert nations.partner.prints(is_event("opened", ledger=FLASH))["from"] == "0"
    nations.partner.prints(is_event("ended", ledger=FLASH, successor=ended["successor"]))
    last = nations.push()
    assert nations.partner.report(last.report_id)["ledger"] == ended["successor"]
    assert not [event for event in nations.partner.events if event["event"] == "lost"]
