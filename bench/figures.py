"""What benchmarks have in common: rounds as figures, the machine, and files of results."""

from __future__ import annotations

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
