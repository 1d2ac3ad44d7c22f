"""How long an alert takes to a partner for whom a million tracks wait, beside how long it takes on idle gateways.

Run from the top of the repository: ``make bench-backlog``, or
``PYTHONPATH=.:proto python bench/backlog.py [--tracks 1000000] [--dir DIR] [--json FILE]``.

Two nations are deployed as `signalfire demo` deploys them, JPN and KOR, under the example policies. While KOR is down,
JPN's own pipeline and sequencer take the tracks: each is decided, copied, sealed for KOR and for JPN itself, signed and
committed. Then both gateways run, each a process of its own, with C2 systems at both: a launch detection is pushed
before KOR is up, and then one each second while the tracks go over. The time is from the push to the delivery at KOR's
subscriber. The same is done before with two gateways that have nothing else to do.

Needs some 5 kB of disk a track at JPN, and some 2 kB of each that KOR takes. ``--dir`` keeps the deployment, and goes
on with what is there already; otherwise it is taken away at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from signalfire.v1 import report_pb2

from gateway import config as configuration
from gateway.client import Received
from gateway.clock import Clock
from gateway.demo.deployment import PUSHER, READER, Deployed, Gateway, deploy
from gateway.exchange.partners import Partners, Pinned
from gateway.identity.keyring import Keyring
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.governance import Governance
from gateway.release.pipeline import TakeReport
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from gateway.release.signatory import Signatory
from policy.approve.proofs import Proofs

POLICIES: Final = Path(__file__).parents[1] / "policy" / "examples" / "trilateral"
EXERCISE: Final = report_pb2.TRAFFIC_CLASS_EXERCISE
IN_FLIGHT: Final = 512
"""Tracks that wait for their commit at once while the store is filled."""
EVENTS: Final = 500
PATIENCE_S: Final = 600.0


def deployed(directory: Path) -> Mapping[str, Deployed]:
    """Two nations in `directory`; those that are there already, with ports of their configuration."""
    names = ("JPN", "KOR")
    if not directory.exists():
        return deploy(directory, {node: POLICIES / node.lower() for node in names}, now=datetime.now(UTC), max_age_s=60)
    found = {}
    for node in names:
        place = directory / node.lower()
        config = configuration.load(place / "gateway.yaml")
        found[node] = Deployed(node, place, config.national.listen, config.exchange.listen)
    return found


def envelope(precedence: report_pb2.Precedence.ValueType, event: str) -> report_pb2.Report:
    """What every report here has in common."""
    report = report_pb2.Report(
        report_id=str(uuid.uuid4()),
        originator_node="JPN",
        originator_station="KAMO-KURA/FPS-5.2",
        source_sequence=1,
        event_id=event,
        traffic_class=EXERCISE,
        precedence=precedence,
        marking=report_pb2.Marking(
            policy="JPN", classification=report_pb2.CLASSIFICATION_SECRET, releasable_to=["KOR", "USA"]
        ),
        threat=report_pb2.Threat(launch_country="PRK", launch_area="Sunan"),
    )
    now_ns = time.time_ns()
    report.report_time.FromNanoseconds(now_ns)
    report.valid_time.FromNanoseconds(now_ns - 1_000_000_000)
    report.clock_uncertainty.nanos = 50_000
    return report


def track(number: int) -> report_pb2.Report:
    """One point of one of many tracks."""
    report = envelope(report_pb2.PRECEDENCE_ROUTINE, f"JPN-2026-{number % EVENTS:04d}")
    point = report.track
    point.track_id = str(uuid.UUID(int=number % EVENTS, version=4))
    point.track_number = f"JA{number % EVENTS:03d}"
    point.status = report_pb2.TRACK_STATUS_MAINTAINING
    point.point_type = report_pb2.TRACK_POINT_TYPE_MEASURED
    point.position.latitude_deg, point.position.longitude_deg = 38.0 + number % 90 / 60, 127.0 + number % 70 / 60
    point.position.height_m = 100_000.0 + number % 1000
    point.velocity.frame = report_pb2.REFERENCE_FRAME_ENU
    point.velocity.x_mps, point.velocity.y_mps, point.velocity.z_mps = 2_950.0, -40.0, 1_610.0
    point.covariance.frame = report_pb2.REFERENCE_FRAME_ENU
    point.covariance.upper_triangle.extend((9.0e4, 1.2e3, -4.0e2, 8.5e4, 3.0e2, 2.1e5))
    point.quality = 11
    point.sensor_modality = report_pb2.SENSOR_MODALITY_SEA_RADAR
    point.missile_class = report_pb2.MISSILE_CLASS_MRBM
    return report


def alert(number: int) -> report_pb2.Report:
    """A first launch detection."""
    report = envelope(report_pb2.PRECEDENCE_FLASH, f"JPN-2026-A{number:04d}")
    launch = report.launch_detection
    launch.launch_time.FromNanoseconds(report.valid_time.ToNanoseconds())
    launch.launch_time_uncertainty.seconds = 2
    launch.launch_point.latitude_deg, launch.launch_point.longitude_deg = 39.2, 125.7
    launch.launch_point_error.semi_major_m, launch.launch_point_error.semi_minor_m = 9_000.0, 4_500.0
    launch.launch_point_error.orientation_deg, launch.launch_point_error.containment = 91.0, 0.95
    launch.object_count = 1
    launch.missile_class = report_pb2.MISSILE_CLASS_MRBM
    launch.sensor_modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    launch.certainty = report_pb2.CERTAINTY_PROBABLE
    launch.confidence = 0.8
    return report


def size(place: Deployed, lane: Lane) -> int:
    """Entries of the first generation of JPN's ledger for KOR, as a node has it on disk."""
    with contextlib.closing(SqliteReader(place.store)) as reader:
        row = reader.ledger(Origin.release("JPN", "KOR", lane, 1))
        return 0 if row is None else row.size


def place_in_feed(place: Deployed, report: report_pb2.Report) -> int:
    """The how manyth of all that a node received that report was."""
    with contextlib.closing(SqliteReader(place.store)) as reader:
        row = reader.received("JPN", uuid.UUID(report.report_id).bytes)
        assert row is not None
        assert row.feed is not None
        return row.feed


@contextlib.asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    """These gateways, up."""
    for gateway in gateways:
        gateway.start()
    try:
        for gateway in gateways:
            await gateway.ready(PATIENCE_S)
        yield
    finally:
        for gateway in gateways:
            gateway.stop()


# --- the backlog


async def filled(directory: Path, place: Deployed, tracks: int, progress: Progress) -> dict[str, Any]:
    """What filling the store took, now or before."""
    kept = directory / "fill.json"
    if not kept.exists():
        kept.write_text(json.dumps(await fill(place, tracks, progress)), encoding="utf-8")
    before: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return before


async def fill(place: Deployed, tracks: int, progress: Progress) -> dict[str, Any]:
    """Has JPN's pipeline take tracks until there are so many; the order that its policy needs is in force already."""
    config = configuration.load(place.config)
    clock = Clock()
    signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))
    reader = SqliteReader(config.store)
    pinned = [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()]
    partners = Partners(pinned, clock.now, lambda node: 0, lambda node: None)
    partners.refresh()
    governance = Governance(
        partners=config.partners,
        signatory=signatory,
        reader=lambda: reader,
        prover=Proofs(clock.monotonic),
        limits=config.limits.orders.limits(),
        now=clock.now,
        clock_trusted=lambda: True,
    )
    commits = 0

    def committed(what: Durable) -> None:
        nonlocal commits
        commits += 1

    sequencer = Sequencer(
        lambda: SqliteStore(config.store),
        signatory,
        partners.keys,
        now_ns=clock.now_ns,
        limits=SequencerLimits(),
        listener=committed,
        monotonic=clock.monotonic,
        rulebook=governance.restore,
    )
    await sequencer.open()
    working = asyncio.create_task(sequencer.run())
    present = reader.last_report()
    began, cpu = time.monotonic(), time.process_time()
    bar = progress.add_task("tracks taken while KOR is down", total=tracks, completed=present)
    numbers = iter(range(present, tracks))

    async def take() -> None:
        for number in numbers:
            await sequencer.do(TakeReport.of(track(number), f"spiffe://jpn/c2/{PUSHER}", lambda _: True), source=PUSHER)
            progress.advance(bar)

    await asyncio.gather(*(take() for _ in range(IN_FLIGHT)))
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await sequencer.close()
    reader.close()
    return {"tracks": tracks - present, "seconds": took, "cpu_seconds": cpu, "commits": commits}


# --- alerts


class Listening:
    """KOR's subscriber for alerts: when each came, by its identifier."""

    def __init__(self, place: Deployed) -> None:
        self.at: dict[str, float] = {}
        self._place = place
        self._came = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        client = self._place.client(READER)
        async for item in client.subscribe([EXERCISE], minimum_precedence=report_pb2.PRECEDENCE_FLASH):
            if isinstance(item, Received):
                self.at.setdefault(item.report.report_id, time.monotonic())
                self._came.set()

    async def wait_for(self, report_id: str) -> float:
        """When it came."""
        async with asyncio.timeout(PATIENCE_S):
            while report_id not in self.at:
                await self._came.wait()
                self._came.clear()
        return self.at[report_id]


async def push(place: Deployed, report: report_pb2.Report) -> float:
    """Pushes one report; returns when that began."""
    began = time.monotonic()
    async for result in place.client(PUSHER).submit([report]):
        assert result.accepted, result
    return began


async def alerts(
    places: Mapping[str, Deployed], listening: Listening, count: int, progress: Progress, what: str
) -> list[float]:
    """Pushes one alert each second over one stream that stays open, and returns how long each took, seconds."""
    bar = progress.add_task(what, total=count)
    pushed: dict[str, float] = {}

    async def reports() -> AsyncIterator[report_pb2.Report]:
        for number in range(count):
            report = alert(number)
            pushed[report.report_id] = time.monotonic()
            yield report
            await listening.wait_for(report.report_id)
            progress.advance(bar)
            await asyncio.sleep(1.0)

    async for result in places["JPN"].client(PUSHER).submit(reports()):
        assert result.accepted, result
    return [listening.at[report_id] - began for report_id, began in pushed.items()]


def summary(latencies: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(1000 * each for each in latencies)
    return {
        "alerts": len(ordered),
        "median_ms": statistics.median(ordered),
        "p90_ms": ordered[int(0.9 * (len(ordered) - 1))],
        "longest_ms": ordered[-1],
    }


def peak_mb(gateway: Gateway) -> float:
    """Largest resident size of a gateway so far, megabytes."""
    status = Path(f"/proc/{gateway.pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1000


async def idle(directory: Path, count: int, progress: Progress) -> dict[str, Any]:
    """Alerts between two gateways that have nothing else to do."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as place:
        places = deployed(Path(place) / "idle")
        listening = Listening(places["KOR"])
        async with running(*(Gateway(places[node]) for node in places)):
            task = asyncio.create_task(listening.run())
            await listening.wait_for(await first(places))
            measured = await alerts(places, listening, count, progress, "alerts on idle gateways")
            task.cancel()
    return summary(measured)


async def first(places: Mapping[str, Deployed]) -> str:
    """Pushes one alert that nobody times: afterwards all connections are there."""
    report = alert(9999)
    await push(places["JPN"], report)
    return report.report_id


async def backlog(places: Mapping[str, Deployed], count: int, progress: Progress) -> dict[str, Any]:
    """Alerts while the tracks go over."""
    waiting = size(places["JPN"], Lane.ROUTINE) - size(places["KOR"], Lane.ROUTINE)
    jpn, kor = Gateway(places["JPN"]), Gateway(places["KOR"])
    async with running(jpn):
        report = alert(9998)
        await push(places["JPN"], report)
        listening = Listening(places["KOR"])
        started = time.monotonic()
        async with running(kor):
            up = time.monotonic()
            task = asyncio.create_task(listening.run())
            came = await listening.wait_for(report.report_id)
            ahead = place_in_feed(places["KOR"], report) - 1
            before = time.monotonic(), size(places["KOR"], Lane.ROUTINE)
            measured = await alerts(places, listening, count, progress, "alerts beside the backlog")
            there = size(places["KOR"], Lane.ROUTINE)
            took = time.monotonic() - before[0]
            task.cancel()
            return {
                "waiting_at_the_start": waiting,
                "first_alert": {
                    "seconds_after_the_start_of_the_partner": came - started,
                    "seconds_after_the_partner_answered": max(0.0, came - up),
                    "tracks_that_were_there_before_it": ahead,
                },
                **summary(measured),
                "tracks_a_second_meanwhile": (there - before[1]) / took,
                "still_waiting_at_the_end": size(places["JPN"], Lane.ROUTINE) - there,
                "peak_mb": {"JPN": peak_mb(jpn), "KOR": peak_mb(kor)},
            }


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """All of it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        places = deployed(directory)
        # Each first start puts the nation's policy in force.
        async with running(*(Gateway(places[node]) for node in places)):
            pass
        results: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "load_average": os.getloadavg()}}
        results["fill"] = await filled(directory, places["JPN"], options.tracks, progress)
        if options.fill_only:
            return results
        results["idle"] = await idle(directory, options.alerts, progress)
        results["backlog"] = await backlog(places, options.alerts, progress)
        results["machine"]["load_average_at_the_end"] = os.getloadavg()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=1_000_000)
    parser.add_argument("--alerts", type=int, default=60, help="alerts on idle gateways, and beside the backlog")
    parser.add_argument("--dir", type=Path, help="keep the deployment here, and go on with what is there")
    parser.add_argument("--fill-only", action="store_true", help="stop once the tracks wait")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "backlog"
        results = asyncio.run(measure(options, directory))
    text = json.dumps(results, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
