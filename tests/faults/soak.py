"""`make soak`: runs of faults, one after another, each with a seed of its own, for as long as is asked for.

Each run is a deployment of its own and ends with every check of `harness`. The table at the end is over all of them.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.demo.errors import DemoError
from tests.faults.harness import Course, Outcome, Run
from tests.faults.invented import CODES
from tests.faults.schedule import Kind
from tests.faults.striking import STRIKES
from tests.faults.tables import failovers, injected, summary

SHOWN: int = 20
"""Faults of a run that are printed; the number of all of them follows."""

RUN_S: float = 60.0
"""Seconds that a run takes, about: it is begun while so much time is left, or where it is the first."""

WORDS = {kind.name.lower().replace("_", "-"): kind for kind in STRIKES}
"""What a kind of fault is called on the command line."""


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--seed", default=1, show_default=True, help="Of the first run; each further one has the next.")
@click.option("--runs", type=click.IntRange(1), help="So many runs instead.")
@click.option("--nodes", type=click.IntRange(2, len(CODES)), default=3, show_default=True, help="Nations of a run.")
@click.option("--faults", default=16, show_default=True, help="Faults in a run.")
@click.option("--seconds", default=45.0, show_default=True, help="Seconds into which they fall.")
@click.option(
    "--relay",
    type=click.Choice(["yes", "no", "by-turns"]),
    default="by-turns",
    show_default=True,
    help="Whether each nation carries between the others; by turns: in runs with an odd seed.",
)
@click.option("--kinds", default="all", show_default=True, metavar="KIND,...", help=f"Of: {', '.join(WORDS)}.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Leave what failed here.")
def soak(
    minutes: float,
    seed: int,
    runs: int | None,
    nodes: int,
    faults: int,
    seconds: float,
    relay: str,
    kinds: str,
    keep: Path | None,
) -> None:
    """Run gateways through faults until the time is over, and print what was injected and what came of it.

    Exit code 0: nothing was lost, doubled or leaked and every store is sound; 1: something was, and the command that
    replays the run is printed; 2: wrong usage.
    """
    chosen = _kinds(kinds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 110)
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        whole = progress.add_task("soak", total=float(runs) if runs else minutes * 60)
        while _goes_on(runs, minutes, len(outcomes), time.monotonic() - began):
            course = Course(
                seed + len(outcomes),
                chosen,
                CODES[:nodes],
                faults=faults,
                duration_s=seconds,
                relayed=nodes > 2 and (relay == "yes" or (relay == "by-turns" and (seed + len(outcomes)) % 2 == 1)),
            )
            outcomes.append(_one(course, progress, keep))
            progress.update(whole, completed=len(outcomes) if runs else time.monotonic() - began)
            _tell(console, outcomes[-1], _replay(course, kinds))
    console.print(injected(outcomes))
    carried = failovers(outcomes)
    if carried.row_count:
        console.print(carried)
    console.print(summary(outcomes))
    failed = [outcome.course.seed for outcome in outcomes if outcome.faults]
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(outcomes)} runs failed: seeds {', '.join(map(str, failed))}")


def _kinds(text: str) -> Sequence[Kind]:
    if text == "all":
        return STRIKES
    unknown = [word for word in text.split(",") if word not in WORDS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: name some of {', '.join(WORDS)}", param_hint="--kinds")
    return [WORDS[word] for word in text.split(",")]


def _goes_on(runs: int | None, minutes: float, done: int, passed_s: float) -> bool:
    if runs is not None:
        return done < runs
    return done == 0 or passed_s + RUN_S <= minutes * 60


def _one(course: Course, progress: Progress, keep: Path | None) -> Outcome:
    """One run, in a directory that is removed, but where it failed and is to be kept."""
    task = progress.add_task(f"seed {course.seed}", total=1.0)
    directory = Path(tempfile.mkdtemp(prefix="signalfire-soak-"))
    run = Run(course, directory, say=lambda what: progress.update(task, description=f"seed {course.seed}: {what}"))

    async def played() -> Outcome:
        playing = asyncio.create_task(run.play())
        while not playing.done():
            await asyncio.wait([playing], timeout=0.25)
            progress.update(task, completed=run.progress)
        try:
            return await playing
        except DemoError as error:
            return Outcome(course, run.books, [f"failed: {error}"])

    outcome = None
    try:
        outcome = asyncio.run(played())
    finally:
        progress.remove_task(task)
        if keep is not None and (outcome is None or outcome.faults):
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copytree(
                directory, keep / f"seed-{course.seed}", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock")
            )
        shutil.rmtree(directory)
    return outcome


def _replay(course: Course, kinds: str) -> str:
    """The command that runs this course again."""
    return (
        f"python -m tests.faults.soak --runs 1 --seed {course.seed} --nodes {len(course.nodes)}"
        f" --faults {course.faults} --seconds {course.duration_s:g} --kinds {kinds}"
        f" --relay {'yes' if course.relayed else 'no'}"
    )


def _tell(console: Console, outcome: Outcome, replay: str) -> None:
    books = outcome.books
    verdict = "sound" if not outcome.faults else f"{len(outcome.faults)} FAULTS"
    console.print(
        f"seed {outcome.course.seed}: {len(outcome.struck)} faults, {len(books.accepted):,} reports accepted,"
        f" {outcome.entries:,} entries verified, in {outcome.took_s:.0f} s: {verdict}",
        highlight=False,
    )
    for fault in outcome.faults[:SHOWN]:
        console.print(f"  {fault}", style="bold red", highlight=False, markup=False)
    if outcome.faults:
        console.print(f"  replay: {replay}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    soak()
