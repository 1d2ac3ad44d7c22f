"""Signalfire beside what carries reports without it: throughput, processor, latency of alerts; in turns, in one run.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/compare.py [--rounds 3] [--reports 10000]
[--only relay,signalfire] [--json FILE] [--chart FILE]``.

Each round starts each system anew, one after another, and measures with the same load (`bench/load.py`):

1. alerts, one at a time, on a system that has nothing else to do;
2. tracks as fast as they go, with a bounded number unacknowledged, until the subscriber has all;
3. alerts at a steady rate beside tracks at a steady rate.

Beside the time that passed stands the time of the processor of each process, which other programs disturb less. What a
system is and what it promises is in `bench/system.py`; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench import charts, tables
from bench.brokers.servers import NotHere
from bench.load import Measured, Sizes, measure
from bench.system import System, SystemFailed

SYSTEMS: Final = {
    "relay": "bench.relay.relay:Relay",
    "relay-batched": "bench.relay.relay:BatchedRelay",
    "signalfire": "bench.gateways:Gateways",
    "signalfire-library": "bench.gateways:LibraryGateways",
    "nats": "bench.brokers.nats:Nats",
    "nats-synced": "bench.brokers.nats:NatsSynced",
    "rabbitmq": "bench.brokers.rabbitmq:RabbitMQ",
}
"""Module and class of each, imported when it is asked for."""

WIDTH: Final = 160
"""Of tables that go into a file."""
DEFAULT: Final = "relay,relay-batched,nats,rabbitmq,signalfire"
"""`nats` syncs lazily, as its makers ship it: it does not keep promises 1 and 2 of `bench/system.py`."""


def system(name: str) -> System:
    """The system of that name. Raises NotHere where what it is made of is not installed."""
    module, _, attribute = SYSTEMS[name].partition(":")
    made: System = getattr(importlib.import_module(module), attribute)()
    return made


async def one_round(each: System, directory: Path, sizes: Sizes, progress: Progress, label: str) -> Measured:
    """Starts a system in an empty directory, measures it, and ends it. Raises SystemFailed."""
    bars: dict[str, TaskID] = {}

    def told(what: str, done: int, of: int) -> None:
        if what not in bars:
            bars[what] = progress.add_task(f"{label}: {what}", total=of)
        progress.update(bars[what], completed=done)

    starting = progress.add_task(f"{label}: starts", total=None)
    try:
        await each.start(directory)
        progress.remove_task(starting)
        return await measure(each, sizes, told)
    finally:
        for bar in bars.values():
            progress.remove_task(bar)
        await each.stop()


async def compare(systems: Sequence[System], rounds: int, sizes: Sizes, beside: Path | None) -> tables.Rounds:
    """All rounds of all systems, in turns; of one that is not installed there are none. Raises SystemFailed."""
    found: dict[str, list[Measured]] = {each.name: [] for each in systems}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for number in range(1, rounds + 1):
            for each in systems:
                with tempfile.TemporaryDirectory(dir=beside, ignore_cleanup_errors=True) as parent:
                    directory = Path(parent) / each.name
                    directory.mkdir()
                    label = f"round {number} of {rounds}, {each.name}"
                    try:
                        found[each.name].append(await one_round(each, directory, sizes, progress, label))
                    except NotHere as missing:
                        progress.console.print(f"{each.name} is left out: {missing}")
    return {name: measured for name, measured in found.items() if measured}


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=DEFAULT, help=f"of {', '.join(SYSTEMS)}")
    helps = {
        "reports": "tracks as fast as they go; 0: none",
        "in_flight": "of them unacknowledged at once",
        "alerts": "one at a time; 0: none",
        "rate": "tracks a second beside which alerts go",
        "seconds": "for which they go; 0: not at all",
        "alerts_s": "alerts a second beside them",
        "warm_up": "tracks before anything is measured",
    }
    for field in fields(Sizes):
        default = field.default
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=helps[field.name])
    parser.add_argument("--dir", type=Path, help="where the stores lie meanwhile; on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--chart", type=Path, help="and a chart here, SVG")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    before = os.getloadavg()
    systems = []
    for name in names:
        try:
            systems.append(system(name))
        except NotHere as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
    try:
        found = asyncio.run(compare(systems, options.rounds, sizes, options.dir))
    except SystemFailed as error:
        sys.exit(str(error))
    console = Console()
    tables.show(found, sizes, console if console.is_terminal else Console(width=WIDTH))
    if options.json is not None:
        text = json.dumps(tables.as_json(found, sizes, [before, os.getloadavg()]), indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.chart is not None and (none := charts.bars(options.chart, tables.panels(found, sizes))):
        print(none)


if __name__ == "__main__":
    main()
