"""What a report costs the origin as a nation's partners, its rules and its ledgers grow: microseconds of the processor.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/growth.py [--json FILE] [--chart FILE]``.

Each case is a node with a real store and the sequencer of a gateway; all are open at once in this process, and take a
commit of 64 tracks each in turns, so that a busy machine slows all of them. The figure is the least of the rounds, and
beside it stands how many times that of the first case of its kind it is. Folding SQLite's log into its file, after some
commits, comes on top: once for all rounds, in the mean of their reports.

- *Partners*: 2, 8 and 32, each with fifty rules and each released every track. That is as many times the work, so the
  cost a partner is told as well.
- *Rules*: 10, 100 and 1,000 for each of two partners. A third of them is about tracks; all those are asked, and the
  last one releases.
- *Entries*: 1,000 to 100,000 in the ledgers together (`bench/serving.py` goes on to ten million). The store is filled
  by the same sequencer, in commits of 1,024 reports, each decided, copied, sealed, signed and on disk; it is copied
  whenever it has come to a size. What it holds is told.

Half of the rules are the same for all partners, as a nation's own caveats are, and half of them each partner's own.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress
from rich.table import Table

from bench import charts, figures, nodes
from bench.nodes import Node
from gateway.release.rulebook import Rulebook
from policy import compile_bundle
from policy.countries import NODE_CODES

PARTNERS: Final = (2, 8, 32)
RULES: Final = (10, 100, 1000)
ENTRIES: Final = (1_000, 10_000, 100_000)
FEW_PARTNERS: Final = PARTNERS[0]
SOME_RULES: Final = 50
COMMIT: Final = 64
"""Tracks of a commit that is measured."""

SHARED: Final = """\
node: JPN
posture: ROUTINE
field_sets:
  warning: [envelope@1, threat@1, references@1, launch@1, track@1, impact@1, recall@1]
"""
RELEASING: Final = """\
  - name: prk-launch-warning
    effect: release
    reason: Launches there are shared
    kinds: [LaunchDetection, Track, ImpactPrediction]
    traffic_classes: [LIVE, EXERCISE]
    ceiling: SECRET
    fields: [warning]
    when: report.threat.launch_country == "PRK"
"""
_CONDITIONS: Final = (
    "'\"{name}\" in report.marking.caveats'",
    """'report.event_id.startsWith("{name}-trial-")'""",
    """'report.threat.launch_area == "Range {name}"'""",
)
_KINDS: Final = ("Track", "LaunchDetection", "ImpactPrediction")


def _withholding(partner: str, number: int) -> str:
    """One of a partner's rules that withhold: no track of these benchmarks meets it."""
    name = f"C{number}" if number % 2 else f"{partner}{number}"
    kind, condition = _KINDS[number % len(_KINDS)], _CONDITIONS[number // 2 % len(_CONDITIONS)]
    return (
        f"  - name: rule-{number}\n    effect: withhold\n    reason: A benchmark\n    kinds: [{kind}]\n"
        f"    traffic_classes: [LIVE, EXERCISE]\n    when: {condition.format(name=name)}\n"
    )


def codes(count: int) -> tuple[str, ...]:
    """So many partners of Japan."""
    return tuple([code for code in sorted(NODE_CODES) if code != "JPN"][:count])


def rulebook(partners: Sequence[str], rules: int) -> Rulebook:
    """A policy with so many rules for each partner, the last of which releases."""
    files = {"policy.yaml": SHARED.encode()}
    for partner in partners:
        withholding = "".join(_withholding(partner, number) for number in range(rules - 1))
        files[f"partners/{partner}.yaml"] = f"partner: {partner}\nrules:\n{withholding}{RELEASING}".encode()
    policy = compile_bundle(files)
    return Rulebook(policy, tuple(sorted(partners)), policy.posture)


@dataclass
class Case:
    """One node that is measured, and what was found."""

    kind: str
    size: int
    """So many partners, rules a partner, or entries."""
    node: Node
    partners: Sequence[str]
    rounds: list[float] = field(default_factory=list)
    """Microseconds a report."""
    folding: float = 0.0
    """Microseconds a report that folding the store's log took, in the mean of all rounds."""
    holds: dict[str, float] = field(default_factory=dict)
    """What was in the store before anything was measured."""


async def filled(directory: Path, sizes: Sequence[int], progress: Progress) -> dict[int, Path]:
    """Stores whose ledgers hold so many entries together, and the launches of their last tracks."""
    partners = codes(FEW_PARTNERS)
    growing, policy = directory / "growing.db", rulebook(partners, RULES[0])
    found: dict[int, Path] = {}
    bar = progress.add_task("entries that the ledgers hold", total=max(sizes))
    for size in sorted(sizes):
        async with Node.of("JPN", growing, partners, policy) as node:
            await nodes.fill(node, partners, size, lambda held: progress.update(bar, completed=held))
        found[size] = directory / f"{size}.db"
        if size == max(sizes):
            growing.rename(found[size])
        else:
            shutil.copy(growing, found[size])
    return found


def cases(directory: Path, stores: dict[int, Path], progress: Progress) -> list[Case]:
    """All of them."""
    found: list[Case] = []

    def add(kind: str, size: int, path: Path, partners: Sequence[str], rules: int) -> None:
        found.append(Case(kind, size, Node.of("JPN", path, partners, rulebook(partners, rules)), partners))
        progress.advance(bar)

    bar = progress.add_task("policies compiled", total=len(PARTNERS) + len(RULES) + len(stores))
    for count in PARTNERS:
        add("partners", count, directory / f"partners-{count}.db", codes(count), SOME_RULES)
    for count in RULES:
        add("rules", count, directory / f"rules-{count}.db", codes(FEW_PARTNERS), count)
    for size, path in stores.items():
        add("entries", size, path, codes(FEW_PARTNERS), RULES[0])
    return found


async def measure(directory: Path, sizes: Sequence[int], rounds: int, progress: Progress) -> list[Case]:
    """All cases, in turns."""
    found = cases(directory, await filled(directory, sizes, progress), progress)
    async with AsyncExitStack() as stack:
        pushing = []
        for case in found:
            node = await stack.enter_async_context(case.node)
            pushing.append(nodes.Pushing(node, case.partners))
            # Epochs are opened, and conditions are asked for the first time.
            await pushing[-1].launch()
            await pushing[-1].push(COMMIT)
            node.store.fold()
            node.store.folded = 0.0
            case.holds = nodes.holds(node.path)
        bar = progress.add_task("rounds", total=rounds)
        for _ in range(rounds):
            for case, pushes in zip(found, pushing, strict=True):
                case.rounds.append(1e6 * await pushes.push(COMMIT) / COMMIT)
            progress.advance(bar)
        for case in found:
            case.node.store.fold()
            case.folding = 1e6 * case.node.store.folded / (COMMIT * rounds)
    return found


def firsts(found: Sequence[Case]) -> dict[str, float]:
    """Of each kind the figure of its first case."""
    return {case.kind: min(case.rounds) for case in reversed(found)}


def as_json(found: Sequence[Case], before: dict[str, Any]) -> dict[str, Any]:
    """Everything that is kept of a run."""
    first = firsts(found)
    return {
        "machine": {**figures.machine(), "load_average_before": before["load_average"]},
        "reports_a_commit": COMMIT,
        "cases": [
            {
                "kind": case.kind,
                "size": case.size,
                "cpu_us_a_report": figures.summed(case.rounds),
                "folding_us_a_report": case.folding,
                "to_the_first": min(case.rounds) / first[case.kind],
                "store": case.holds,
            }
            for case in found
        ],
    }


def table(found: Sequence[Case]) -> Table:
    """The figures."""
    first = firsts(found)
    made = Table(
        title=f"Microseconds of the processor a report at the origin, commits of {COMMIT}: the least of the rounds",
        title_justify="left",
    )
    made.add_column("as what grows")
    for column in (
        "to",
        "a report",
        "median",
        "to the first",
        "a partner",
        "folding",
        "store: reports",
        "entries",
        "MB",
    ):
        made.add_column(column, justify="right")
    for number, case in enumerate(found):
        figure = figures.summed(case.rounds)
        made.add_row(
            case.kind,
            f"{case.size:,}",
            f"{figure['min']:,.0f}",
            f"{figure['median']:,.0f}",
            f"{figure['min'] / first[case.kind]:.2f}",
            f"{figure['min'] / len(case.partners):,.0f}",
            f"{case.folding:,.0f}",
            *(f"{case.holds[name]:,.0f}" for name in ("reports", "entries", "mb")),
            end_section=number + 1 == len(found) or found[number + 1].kind != case.kind,
        )
    return made


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--entries", default=",".join(map(str, ENTRIES)), help="sizes of the ledgers")
    parser.add_argument("--dir", type=Path, help="where the stores lie meanwhile; on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--chart", type=Path, help="and a chart here, SVG")
    options = parser.parse_args()
    sizes = [int(size) for size in options.entries.split(",")]
    before = figures.machine()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory, figures.progress() as progress:
        found = asyncio.run(measure(Path(directory), sizes, options.rounds, progress))
    figures.console().print(table(found))
    figures.keep(options.json, as_json(found, before))
    if options.chart is not None:
        first = firsts(found)
        lines = {
            kind: [(case.size, min(case.rounds) / first[kind]) for case in found if case.kind == kind] for kind in first
        }
        missing = charts.lines(
            options.chart,
            lines,
            title="What a report costs the origin, beside the first case of its kind",
            across="so many of them",
            up="times",
        )
        if missing:
            print(missing)


if __name__ == "__main__":
    main()
