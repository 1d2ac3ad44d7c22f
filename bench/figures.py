"""What benchmarks have in common: rounds as figures, the machine, files of results, and charts."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

RESULTS: Final = Path(__file__).parent / "results"
"""Where results are kept."""
MOST_TICKS: Final = 6
"""Places that an axis names one by one."""
WIDTH: Final = 160
"""Of tables that go into a file."""


def machine() -> dict[str, Any]:
    """What was measured on, and how busy it is now."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def summed(rounds: Sequence[float]) -> dict[str, Any]:
    """The figures of one thing: other work on the machine makes rounds longer and none shorter, so the least counts,
    and the median says how far to trust it.
    """
    return {"min": min(rounds), "median": statistics.median(rounds), "rounds": list(rounds)}


def progress() -> Progress:
    """A display of what is being done, beside the results."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def console() -> Console:
    """Where tables are printed."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def keep(path: Path | None, found: Mapping[str, Any]) -> None:
    """Writes results, where there is a file to write them to."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def chart(
    path: Path,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    across: str,
    up: str,
    log: str = "xy",
) -> str | None:
    """Draws lines, each of places and values, as an SVG file. `log` names the axes that are logarithmic.

    Returns why there is none: it takes matplotlib, without which a measurement is as good.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
        figures = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        return f"no chart, for {error.name} is not here: `make bench-tools` installs it"
    # The same figures make the same file, and letters stay letters.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "signalfire", "font.size": 9}):
        figure = figures.Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, values) in enumerate(lines.items()):
            axes.plot(*zip(*values, strict=True), marker="osv^D"[number // 10 % 5], markersize=4, label=name)
        if "x" in log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
            places = sorted({place for values in lines.values() for place, _ in values})
            if len(places) <= MOST_TICKS:
                axes.set_xticks(places, [f"{place:,g}" for place in places], minor=False)
                axes.minorticks_off()
        if "y" in log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:,g}")
        else:
            axes.set_ylim(bottom=0)
        axes.set(title=title, xlabel=across, ylabel=up)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return None
