"""What a report costs as the ledgers grow, how long a gateway then takes to start on them, and the memory it needs.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/serving.py [--entries 1000000] [--minutes 2]
[--dir DIR] [--json FILE] [--chart FILE]``; ``make bench-long`` does it with ten million entries, for an hour.

Three nations are deployed as `signalfire demo` deploys them, under the example policies. JPN's ledgers are filled by
its own sequencer and pipeline, in commits of 1,024 reports, each decided, copied, sealed for both partners, signed and
on disk. A thousand entries are enough for a copy; at each power of ten from there on the store and that copy take
commits of 64 tracks in turns, so that a machine which is slower now than an hour ago slows both. Folding SQLite's log,
after some commits, comes on top.

Then `signalfire serve` is started on that store, and the time until it answers is taken. The partners start
with nothing, and a C2 system pushes tracks at a steady rate: they have all that there ever was to fetch, and what is
new. Meanwhile the resident size of each gateway is read every ten seconds. The slope is that of a line through the
sizes of the last four fifths of the time, in which caches are full.

Needs some 2 kB of disk an entry at JPN, and a third of that at each partner. ``--dir`` keeps the deployment, and goes
on with what is there, where nothing is compared as the ledgers grow; otherwise it is taken away at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress
from rich.table import Table

from bench import charts, figures, nodes
from bench.gateways import EXAMPLES, LIMITS, StubClients
from bench.growth import COMMIT
from bench.load import Launches, Process, Steady
from bench.nodes import Node
from bench.system import cpu_seconds
from bench.traffic import new_tag
from gateway import config as configuration
from gateway.clock import Clock
from gateway.demo.deployment import Deployed, Gateway, deploy
from gateway.exchange.partners import Partners, Pinned
from gateway.identity.keyring import Keyring
from gateway.identity.recovery_key import load_recovery_public
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.governance import Governance
from gateway.release.signatory import Signatory
from gateway.seal.keys import SealingPublicKey
from policy.approve.proofs import Proofs

NODES: Final = ("JPN", "KOR", "USA")
START_S: Final = 600.0
"""For which a gateway is waited for."""
SAMPLE_S: Final = 10.0
SLICE_S: Final = 30.0
"""For which one submission goes on."""
MAX_AGE_S: Final = 3600.0
SETTLED: Final = 0.2
"""Share of the time that is not looked at for the slope: caches fill."""
SHORTEST_S: Final = 300.0
"""Under load, for which a slope is told."""
HOUR_S: Final = 3600.0
FIRST: Final = 1000
"""Entries of the store that the others are compared with."""
ROUNDS: Final = 15
"""Commits of each that are compared."""


def deployed(directory: Path) -> dict[str, Deployed]:
    """The nations in `directory`; those that are there already, with the ports of their configurations."""
    if not directory.exists():
        policies = {node: EXAMPLES / node.lower() for node in NODES}
        return deploy(directory, policies, now=datetime.now(UTC), max_age_s=MAX_AGE_S, changes={"limits": LIMITS})
    found = {}
    for node in NODES:
        place = directory / node.lower()
        config = configuration.load(place / "gateway.yaml")
        found[node] = Deployed(node, place, config.national.listen, config.exchange.listen)
    return found


async def put_in_force(places: Mapping[str, Deployed]) -> None:
    """Each gateway is started once, which puts its policy in force."""
    gateways = [Gateway(place) for place in places.values()]
    try:
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            await gateway.ready(START_S)
    finally:
        for gateway in gateways:
            gateway.stop()


@contextlib.asynccontextmanager
async def opened(place: Deployed, store: Path) -> AsyncIterator[Node]:
    """The node of a deployment in this process, with its keys, partners and policy, on a store of its own."""
    config = configuration.load(place.config)
    clock = Clock()
    signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))
    key = load_recovery_public(config.keys, config.node)
    pinned = [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()]
    partners = Partners(pinned, clock.now, lambda node: 0, lambda node: None)
    partners.refresh()
    with contextlib.closing(SqliteReader(store)) as reader:
        governance = Governance(
            partners=config.partners,
            signatory=signatory,
            reader=lambda: reader,
            prover=Proofs(clock.monotonic),
            limits=config.limits.orders.limits(),
            now=clock.now,
            clock_trusted=lambda: True,
        )
        recovery = None if key is None else SealingPublicKey.parse(key)
        async with Node(signatory, store, partners.keys, governance.restore, recovery) as node:
            yield node


@dataclass
class Grown:
    """What a report cost at a size of the ledgers, and beside it on the first store: microseconds of the processor."""

    entries: int
    here: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    folding: float = 0.0
    """That folding the log took here, a report, in the mean."""
    folding_first: float = 0.0
    """The same on the first store."""
    holds: dict[str, float] = field(default_factory=dict)

    def ratio(self) -> float:
        """Of the cost here to that on the first store, in the median of the rounds: each was measured with its own."""
        return statistics.median(here / first for here, first in zip(self.here, self.first, strict=True))


async def compared(entries: int, here: Node, first: Node, partners: Sequence[str]) -> Grown:
    """Commits of two stores in turns."""
    found = Grown(entries, holds=nodes.holds(here.path))
    both = [(here, nodes.Pushing(here, partners), found.here), (first, nodes.Pushing(first, partners), found.first)]
    for node, pushing, _ in both:
        await pushing.launch()
        await pushing.push(COMMIT)
        node.store.fold()
        node.store.folded = 0.0
    for _ in range(ROUNDS):
        for _, pushing, rounds in both:
            rounds.append(1e6 * await pushing.push(COMMIT) / COMMIT)
    for node, _, _ in both:
        node.store.fold()
    found.folding, found.folding_first = (1e6 * node.store.folded / (COMMIT * ROUNDS) for node in (here, first))
    return found


async def fill(place: Deployed, entries: int, beside: Path, progress: Progress) -> tuple[dict[str, float], list[Grown]]:
    """Has the node take tracks, in this process, until its ledgers hold so many entries. Returns what that took, and
    what a report cost on the way; `beside` is where the first store is put. Nothing is compared where there is more
    than that in the ledgers already.
    """
    store = configuration.load(place.config).store
    others = sorted(configuration.load(place.config).partners)
    bar = progress.add_task(f"entries in the ledgers of {place.node}", total=entries)
    began, cpu = time.monotonic(), time.process_time()

    async def filled(node: Node, size: int) -> None:
        await nodes.fill(node, others, size, lambda held: progress.update(bar, completed=held))

    found: list[Grown] = []
    async with contextlib.AsyncExitStack() as stack:
        if nodes.holds(store)["entries"] < FIRST <= entries:
            async with opened(place, store) as node:
                await filled(node, FIRST)
            shutil.copy(store, beside)
            first = await stack.enter_async_context(opened(place, beside))
            node = await stack.enter_async_context(opened(place, store))
            for size in _powers(FIRST, entries):
                await filled(node, size)
                found.append(await compared(size, node, first, others))
        else:
            node = await stack.enter_async_context(opened(place, store))
        await filled(node, entries)
    took = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
    return {**took, **nodes.holds(store)}, found


def _powers(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 10


def memory_mb(pid: int, what: str) -> float:
    """Megabytes that a process has in memory now (``VmRSS``), or had at the most (``VmHWM``)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(f"{what}:")).split()[1]) * 1024 / 1e6


@dataclass
class Watched:
    """One gateway's memory."""

    ready_s: float
    start_mb: float
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the load began, and megabytes then."""
    peak_mb: float = 0.0
    cpu_seconds: float = 0.0

    def slope(self) -> float | None:
        """Megabytes an hour, of the line through the later samples; None where the time was too short to say."""
        last = self.samples[-1][0]
        if last < SHORTEST_S:
            return None
        later = [(at / HOUR_S, mb) for at, mb in self.samples if at >= SETTLED * last]
        return statistics.linear_regression(*zip(*later, strict=True)).slope


async def started(gateway: Gateway) -> Watched:
    """Starts a gateway, and takes the time until it answers."""
    began = time.monotonic()
    gateway.start()
    await gateway.ready(START_S)
    ready_s = time.monotonic() - began
    assert gateway.pid is not None
    return Watched(ready_s, memory_mb(gateway.pid, "VmRSS"))


async def serve(
    places: Mapping[str, Deployed], minutes: float, rate: float, progress: Progress
) -> tuple[dict[str, Watched], int]:
    """Starts the gateways, JPN's first, and watches them under load. Returns that, and how many tracks were taken."""
    gateways = {node: Gateway(place) for node, place in places.items()}
    pushing: Process | None = None
    try:
        watched = {node: await started(gateway) for node, gateway in gateways.items()}
        pids = {node: gateway.pid for node, gateway in gateways.items() if gateway.pid is not None}
        clients = StubClients(places["JPN"], places["KOR"])
        pushing = Process("producer", clients, produces=True, subscribes=False, alerts=False)
        await pushing.ready()
        await pushing.do(Launches())
        before = {node: cpu_seconds(pid) for node, pid in pids.items()}
        loading = asyncio.create_task(_load(pushing, rate, 60 * minutes))
        bar = progress.add_task("seconds under load", total=round(60 * minutes))
        began = time.monotonic()
        while not loading.done():
            await asyncio.wait([loading], timeout=SAMPLE_S)
            at = time.monotonic() - began
            for node, pid in pids.items():
                watched[node].samples.append((at, memory_mb(pid, "VmRSS")))
            progress.update(bar, completed=min(at, 60 * minutes))
        for node, pid in pids.items():
            watched[node].peak_mb = memory_mb(pid, "VmHWM")
            watched[node].cpu_seconds = cpu_seconds(pid) - before[node]
        return watched, loading.result()
    finally:
        if pushing is not None:
            pushing.stop()
        for gateway in gateways.values():
            gateway.tell_to_stop()
        for gateway in gateways.values():
            gateway.stop()


async def _load(pushing: Process, rate: float, seconds: float) -> int:
    until = time.monotonic() + seconds
    sent = 0
    while (left := until - time.monotonic()) > 0:
        count, _ = await pushing.do(Steady(new_tag(), rate, min(SLICE_S, left), 4000))
        sent += count
    return sent


async def measure(
    options: argparse.Namespace, places: Mapping[str, Deployed], *, new: bool
) -> tuple[dict[str, Any], dict[str, Watched]]:
    """All of it. `new`: no gateway of them was ever started."""
    before = figures.machine()
    with figures.progress() as progress:
        if new:
            await put_in_force(places)
        beside = places["JPN"].store.with_name("first.db")
        filled, grown = await fill(places["JPN"], options.entries, beside, progress)
        progress.console.print(growth(grown))
        watched, tracks = await serve(places, options.minutes, options.rate, progress)
    found = {
        "machine": {**figures.machine(), "load_average_before": before["load_average"]},
        "filled": filled,
        "reports_a_commit": COMMIT,
        "grown": [
            {
                "entries": each.entries,
                "cpu_us_a_report": figures.summed(each.here),
                "on_the_first": figures.summed(each.first),
                "folding_us_a_report": each.folding,
                "folding_on_the_first": each.folding_first,
                "to_the_first": each.ratio(),
                "store": each.holds,
            }
            for each in grown
        ],
        "minutes": options.minutes,
        "tracks": tracks,
        "gateways": {
            node: {
                "ready_s": each.ready_s,
                "start_mb": each.start_mb,
                "end_mb": each.samples[-1][1],
                "peak_mb": each.peak_mb,
                "slope_mb_an_hour": each.slope(),
                "cpu_seconds": each.cpu_seconds,
                "store_at_the_end": nodes.holds(places[node].store),
                "samples": each.samples,
            }
            for node, each in watched.items()
        },
    }
    return found, watched


def growth(grown: Sequence[Grown]) -> Table:
    """What a report cost at each size."""
    made = Table(title=f"Microseconds of the processor a report, commits of {COMMIT}", title_justify="left")
    for column in (
        "entries",
        "a report",
        "on the first store",
        "to the first",
        "folding",
        "on the first",
        "reports",
        "MB",
    ):
        made.add_column(column, justify="right")
    for each in grown:
        made.add_row(
            f"{each.entries:,}",
            f"{min(each.here):,.0f}",
            f"{min(each.first):,.0f}",
            f"{each.ratio():.2f}",
            f"{each.folding:,.0f}",
            f"{each.folding_first:,.0f}",
            f"{each.holds['reports']:,.0f}",
            f"{each.holds['mb']:,.0f}",
        )
    return made


def table(found: Mapping[str, Any]) -> Table:
    """The figures."""
    filled = found["filled"]
    title = (
        f"A store of {filled['entries']:,.0f} entries in own ledgers, of {filled['reports']:,.0f} reports,"
        f" {filled['mb']:,.0f} MB; then {found['tracks']:,} tracks in {found['minutes']:g} minutes"
    )
    made = Table(title=title, title_justify="left")
    made.add_column("gateway")
    columns = ("ready, s", "memory at the start, MB", "at the end", "peak", "slope, MB an hour", "processor, s")
    for column in columns:
        made.add_column(column, justify="right")
    for node, each in found["gateways"].items():
        made.add_row(
            node,
            f"{each['ready_s']:.1f}",
            *(f"{each[name]:,.1f}" for name in ("start_mb", "end_mb", "peak_mb")),
            "too short" if each["slope_mb_an_hour"] is None else f"{each['slope_mb_an_hour']:+,.1f}",
            f"{each['cpu_seconds']:,.0f}",
        )
    return made


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="in JPN's own ledgers, when it is started")
    parser.add_argument("--minutes", type=float, default=2.0, help="under load")
    parser.add_argument("--rate", type=float, default=100.0, help="tracks a second that are pushed meanwhile")
    parser.add_argument("--dir", type=Path, help="keep the deployment here, and go on with what is there")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--chart", type=Path, help="and a chart of the memory here, SVG")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "nations"
        new = not directory.exists()
        found, watched = asyncio.run(measure(options, deployed(directory), new=new))
    figures.console().print(table(found))
    figures.keep(options.json, found)
    if options.chart is not None:
        lines = {node: [(at / 60, mb) for at, mb in each.samples] for node, each in watched.items()}
        title = f"Memory of the gateways, JPN's on {options.entries:,} entries"
        missing = charts.lines(options.chart, lines, title=title, across="minutes under load", up="MB", log="")
        if missing:
            print(missing)


if __name__ == "__main__":
    main()
