"""`make mesh`: eight nations in a full mesh on this machine; two gateways crash and one link flaps throughout.

At the end every ledger is reconciled between each two of them and every store verified.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Final

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.faults.harness import Course, Outcome, Run
from tests.faults.invented import CODES
from tests.faults.schedule import Fault, Kind
from tests.faults.tables import injected, summary

EVERY_S: Final = (8.0, 14.0)
"""Seconds between two crashes of one gateway: it starts and catches up in that time, and then crashes again."""

AWAY_S: Final = (0.5, 3.0)


def course(seed: int, nodes: Sequence[str], duration_s: float, rate: float) -> Course:
    """Two of the nations crash again and again, and the link of two others flaps all the time."""
    chance = random.Random(seed)
    one, other, flapping, far = chance.sample(list(nodes), 4)
    near, far = sorted((flapping, far))
    faults = [Fault(0.2, duration_s - 0.4, Kind.FLAP, near, far)]
    for node in (one, other):
        at = chance.uniform(0.5, EVERY_S[0])
        for _ in count():
            away = round(chance.uniform(*AWAY_S), 2)
            if at + away > duration_s:
                break
            faults.append(Fault(round(at, 2), away, Kind.KILL, node))
            at += away + chance.uniform(*EVERY_S)
    return Course(seed, (Kind.KILL, Kind.FLAP), nodes, duration_s=duration_s, rate=rate, given=sorted(faults))


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long.")
@click.option("--seed", default=1, show_default=True, help="Who crashes, when, and which link flaps.")
@click.option("--nodes", type=click.IntRange(4, len(CODES)), default=8, show_default=True, help="Nations.")
@click.option("--rate", default=1.0, show_default=True, help="Reports a second that each nation pushes.")
def mesh(seconds: float, seed: int, nodes: int, rate: float) -> None:
    """Run a full mesh of nations while two gateways crash and one link flaps, and reconcile every ledger.

    Exit code 0: nothing was lost, doubled or leaked, every ledger agrees and every store is sound; 1: not so.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 110)
    played = course(seed, CODES[:nodes], seconds, rate)
    crashing = sorted({fault.node for fault in played.schedule() if fault.kind is Kind.KILL})
    flapping = next(fault for fault in played.schedule() if fault.kind is Kind.FLAP)
    console.print(
        f"{nodes} nations, {nodes * (nodes - 1) // 2} links; {' and '.join(crashing)} crash,"
        f" {flapping.node}-{flapping.partner} flaps, for {seconds:g} s"
    )
    outcome = _play(console, played)
    console.print(injected([outcome]))
    console.print(summary([outcome]))
    console.print(undisturbed(outcome))
    for fault in outcome.faults[:20]:
        console.print(fault, style="bold red", highlight=False, markup=False)
    if outcome.faults:
        raise click.ClickException(
            f"{len(outcome.faults)} faults; replay: python -m tests.faults.mesh --seed {seed} --nodes {nodes}"
            f" --seconds {seconds:g} --rate {rate:g}"
        )
    console.print(f"[bold green]All {outcome.compared} ledgers that two nodes compared agree.[/bold green]")


def _play(console: Console, played: Course) -> Outcome:
    with (
        tempfile.TemporaryDirectory(prefix="signalfire-mesh-") as directory,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress,
    ):
        task = progress.add_task("mesh", total=1.0)
        run = Run(played, Path(directory), say=lambda what: progress.update(task, description=what))

        async def playing() -> Outcome:
            running = asyncio.create_task(run.play())
            while not running.done():
                await asyncio.wait([running], timeout=0.25)
                progress.update(task, completed=run.progress)
            return await running

        return asyncio.run(playing())


def undisturbed(outcome: Outcome) -> Table:
    """How long reports took between nodes that nothing happened to, while the others crashed and flapped."""
    pairs = outcome.books.undisturbed()
    delays = sorted(came - seen for pair in pairs for seen, came in outcome.books.journeys[pair])
    table = Table(title="between nodes that nothing happened to", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in ("directions", "reports", "median", "99 of 100 within", "slowest"):
        table.add_column(heading, justify="right")
    if len(delays) > 1:
        of_hundred = quantiles(delays, n=100)
        shown = (of_hundred[49], of_hundred[98], delays[-1])
        table.add_row(str(len(pairs)), f"{len(delays):,}", *(f"{seconds * 1000:,.0f} ms" for seconds in shown))
    return table


if __name__ == "__main__":
    mesh()
