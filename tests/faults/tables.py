"""The tables of fault runs: what was injected, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich import box
from rich.table import Table

from tests.faults.harness import Outcome
from tests.faults.schedule import Kind


def injected(outcomes: Sequence[Outcome]) -> Table:
    """Faults by kind, and how long it took until what they had touched was in use again."""
    table = Table("fault", box=box.SIMPLE_HEAD)
    for heading in ("injected", "measured", "median recovery", "longest recovery"):
        table.add_column(heading, justify="right")
    longest = 0.0
    total = 0
    for kind in Kind:
        count, times = _of_kind(outcomes, kind)
        if not count:
            continue
        total += count
        longest = max([longest, *times])
        table.add_row(
            kind.value,
            str(count),
            str(len(times)),
            f"{median(times):.2f} s" if times else "",
            f"{max(times):.2f} s" if times else "",
        )
    table.add_section()
    table.add_row("all", str(total), "", "", f"{longest:.2f} s")
    return table


def _of_kind(outcomes: Sequence[Outcome], kind: Kind) -> tuple[int, list[float]]:
    """How many faults of a kind there were, and the recoveries that could be measured: the slowest pair of each."""
    count, times = 0, []
    for outcome in outcomes:
        for struck in outcome.struck:
            if struck.fault.kind is not kind:
                continue
            count += 1
            known = [each for each in outcome.books.recoveries(struck).values() if each is not None]
            if known:
                times.append(max(known))
    return count, times


def failovers(outcomes: Sequence[Outcome]) -> Table:
    """How long it took until others carried what went between two nodes whose link was down."""
    table = Table("link down, others carry", box=box.SIMPLE_HEAD)
    for heading in ("directions measured", "median failover", "longest failover"):
        table.add_column(heading, justify="right")
    for kind in (Kind.CUT, Kind.HOLE, Kind.SILENT):
        times = [
            seconds
            for outcome in outcomes
            if outcome.course.relayed
            for struck in outcome.struck
            if struck.fault.kind is kind
            for seconds in outcome.books.failovers(struck)
        ]
        if times:
            table.add_row(kind.value, str(len(times)), f"{median(times):.2f} s", f"{max(times):.2f} s")
    return table


def summary(outcomes: Sequence[Outcome]) -> Table:
    """What was pushed and what became of it, over all runs."""
    table = Table("", "", box=box.SIMPLE, show_header=False)
    books = [outcome.books for outcome in outcomes]
    rows: list[tuple[str, int]] = [
        ("runs", len(outcomes)),
        ("faults injected", sum(len(outcome.struck) for outcome in outcomes)),
        ("reports pushed", sum(len(each.pushed) for each in books)),
        ("reports accepted", sum(len(each.accepted) for each in books)),
        ("copies and recalls received", sum(each.received.total() + each.withdrawn.total() for each in books)),
        ("lost", sum(len(each.lost) for each in books)),
        ("doubled", sum(len(each.doubled) for each in books)),
        ("leaked", sum(sum(what.startswith("leaked") for what in outcome.faults) for outcome in outcomes)),
        ("anything else wrong", sum(len(_others(outcome)) for outcome in outcomes)),
        ("entries verified from keys", sum(outcome.entries for outcome in outcomes)),
        ("entries opened and looked through", sum(outcome.opened for outcome in outcomes)),
        ("ledgers compared between two nodes", sum(outcome.compared for outcome in outcomes)),
    ]
    for what, number in rows:
        bad = what in {"lost", "doubled", "leaked", "anything else wrong"}
        style = "" if not bad else "bold green" if number == 0 else "bold red"
        table.add_row(what, f"{number:,}", style=style)
    return table


def _others(outcome: Outcome) -> list[str]:
    return [what for what in outcome.faults if not what.startswith(("lost", "doubled", "leaked"))]
