"""What `bench/compare.py` found, as tables and as JSON: medians over the rounds, with all rounds beside them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.table import Table

from bench.charts import Panel
from bench.load import Measured, Sizes

Rounds: TypeAlias = Mapping[str, Sequence[Measured]]
"""By the name of the system."""

_LOAD: Final = ("producer", "subscriber", "alerts")
"""Processes that are of the load, and of no system."""


def percentile(values: Sequence[float], hundredth: int) -> float:
    """The smallest of the values that so many hundredths of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, -(-hundredth * len(values) // 100) - 1)]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def summary(rounds: Sequence[Measured]) -> dict[str, Any]:
    """The figures of one system: those that were measured."""
    found: dict[str, Any] = {"rounds": len(rounds)}
    if rounds[0].reports:
        found["reports_a_second"] = statistics.median(each.reports / each.seconds for each in rounds)
        found["acknowledged_a_second"] = statistics.median(each.reports / each.acknowledged_seconds for each in rounds)
        found["cpu_us_a_report"] = medians(
            [{name: 1e6 * seconds / each.reports for name, seconds in each.cpu.items()} for each in rounds]
        )
    if rounds[0].idle:
        found["alerts_alone_ms"] = latencies([each.idle for each in rounds])
        found["cpu_us_an_alert"] = medians(
            [{name: 1e6 * seconds / len(each.idle) for name, seconds in each.idle_cpu.items()} for each in rounds]
        )
    if rounds[0].busy:
        found["alerts_beside_tracks_ms"] = latencies([each.busy for each in rounds])
        found["tracks_a_second_beside"] = statistics.median(each.busy_rate for each in rounds)
        found["processors_beside"] = medians([each.busy_cpu for each in rounds])
    return found


def latencies(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Milliseconds; the longest of all rounds."""
    found = medians([{"p50": 1e3 * percentile(each, 50), "p99": 1e3 * percentile(each, 99)} for each in rounds])
    return {**found, "longest": max(1e3 * max(each) for each in rounds)}


def as_json(rounds: Rounds, sizes: Sizes, load_averages: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Everything that is kept of a run."""
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_average_before_and_after": load_averages,
        },
        "sizes": asdict(sizes),
        "systems": {name: summary(each) for name, each in rounds.items()},
        "rounds": {name: [asdict(one) for one in each] for name, each in rounds.items()},
    }


def show(rounds: Rounds, sizes: Sizes, console: Console) -> None:
    """Prints the tables."""
    found = {name: summary(each) for name, each in rounds.items()}
    throughput = {name: each for name, each in found.items() if "reports_a_second" in each}
    if throughput:
        console.print(_throughput(throughput, sizes))
    for key, title in (
        ("alerts_alone_ms", "An alert at a time and nothing else: from the submission to the subscriber, ms"),
        ("alerts_beside_tracks_ms", f"{sizes.alerts_s:g} alerts a second beside {sizes.rate:,.0f} tracks a second, ms"),
    ):
        timed = {name: each for name, each in found.items() if key in each}
        if timed:
            console.print(_latencies(timed, key, title))


def panels(rounds: Rounds, sizes: Sizes) -> list[Panel]:
    """The same as charts."""
    found = {name: summary(each) for name, each in rounds.items()}
    throughput = {name: each for name, each in found.items() if "reports_a_second" in each}
    drawn: list[Panel] = []
    if throughput:
        rates = {name: {"reports/s": each["reports_a_second"]} for name, each in throughput.items()}
        spent = {
            name: {part: us for part, us in each["cpu_us_a_report"].items() if part not in _LOAD}
            for name, each in throughput.items()
        }
        drawn.append(Panel(f"{sizes.reports:,} tracks as fast as they go", "reports a second", rates))
        drawn.append(Panel("Processor, without clients", "µs a report", spent, stacked=True))
    for key, title in (
        ("alerts_alone_ms", "An alert alone"),
        ("alerts_beside_tracks_ms", f"An alert beside {sizes.rate:,.0f} tracks a second asked for"),
    ):
        timed = {
            name: {"median": each[key]["p50"], "99 of 100": each[key]["p99"]}
            for name, each in found.items()
            if key in each
        }
        if timed:
            drawn.append(Panel(title, "ms", timed))
    return drawn


def _throughput(found: Mapping[str, Mapping[str, Any]], sizes: Sizes) -> Table:
    table = Table(
        title=f"{sizes.reports:,} tracks as fast as they go, {sizes.in_flight:,} in flight;"
        " processor: microseconds a report",
        title_justify="left",
    )
    # A broker may be one process where others are three.
    parts = list(dict.fromkeys(name for each in found.values() for name in each["cpu_us_a_report"]))
    parts = [name for name in parts if name not in _LOAD] + ["producer", "subscriber"]
    table.add_column("system")
    for column in ("reports/s", "acknowledged/s", *parts, "without clients"):
        table.add_column(column, justify="right")
    for name, each in found.items():
        cpu = each["cpu_us_a_report"]
        table.add_row(
            name,
            f"{each['reports_a_second']:,.0f}",
            f"{each['acknowledged_a_second']:,.0f}",
            *(f"{cpu[part]:,.0f}" if part in cpu else "" for part in parts),
            f"{sum(spent for part, spent in cpu.items() if part not in _LOAD):,.0f}",
        )
    return table


def _latencies(found: Mapping[str, Mapping[str, Any]], key: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    for column in ("median", "99 of 100 within", "longest"):
        table.add_column(column, justify="right")
    beside = key == "alerts_beside_tracks_ms"
    table.add_column("tracks/s" if beside else "processor an alert, us", justify="right")
    if beside:
        table.add_column("processors", justify="right")
    for name, each in found.items():
        figures = each[key]
        row = [f"{figures[column]:,.1f}" for column in ("p50", "p99", "longest")]
        if beside:
            row += [f"{each['tracks_a_second_beside']:,.0f}", f"{sum(each['processors_beside'].values()):.2f}"]
        else:
            row += [f"{sum(spent for part, spent in each['cpu_us_an_alert'].items() if part not in _LOAD):,.0f}"]
        table.add_row(name, *row)
    return table
