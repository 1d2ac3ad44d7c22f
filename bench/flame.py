"""Where the time of a gateway goes under a flood of tracks: a flame graph of the origin, and one of the recipient.

Run from the top of the repository: ``make bench-flame``, or ``PYTHONPATH=.:proto python bench/flame.py
[--parts origin,recipient] [--reports 6000] [--label before]``.

Three gateways with everything on are flooded as `bench/compare.py` floods them, and py-spy looks into one process of
them at a time, so many times a second: a round for each part, as two samplers would take each other's time. A thread
counts only while it holds the interpreter, which is what a gateway has too little of; ``--everything`` counts waiting
for the disk as well. A graph is as wide as the samples in which a function was on the stack; being sampled takes time
itself, so rates of such a run are not to be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from rich.progress import Progress, TaskID

from bench import figures
from bench.gateways import Gateways
from bench.load import Flooding, Sizes
from bench.system import SystemFailed

SAMPLES_S: Final = 250
LONGEST_S: Final = 600
"""For which a sampler goes on where nobody stops it."""
STOP_S: Final = 60.0
MOST_BYTES: Final = 400_000
"""Of a graph: it is kept in the repository."""
_TITLE: Final = re.compile(r'(<text id="title"[^>]*>)[^<]*(</text>)')


class Sampler:
    """py-spy, looking into one process from now on until it is stopped."""

    def __init__(self, tool: str, pid: int, file: Path, *, gil: bool) -> None:
        self._file = file
        command = [tool, "record", "--pid", str(pid), "--rate", str(SAMPLES_S), "--duration", str(LONGEST_S)]
        command += ["--format", "flamegraph", "--function", "--output", str(file), *(["--gil"] if gil else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop(self, title: str) -> str:
        """The graph, under a title. Raises SystemFailed where there is none."""
        self._process.send_signal(signal.SIGINT)
        try:
            _, said = self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise SystemFailed("py-spy does not end") from None
        if not self._file.exists():
            raise SystemFailed(f"py-spy made no graph (may this user trace processes?): {said.strip()}")
        # Its own title is the command line, with places of this machine.
        return _TITLE.sub(rf"\g<1>{title}\g<2>", self._file.read_text(encoding="utf-8"))


async def graph(
    gateways: Gateways, part: str, sizes: Sizes, tool: str, *, gil: bool, told: Callable[[int], None]
) -> str:
    """The flame graph of one part under a flood. Raises SystemFailed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as parent:
        directory = Path(parent) / "nations"
        directory.mkdir()
        sampler: list[Sampler] = []
        try:
            await gateways.start(directory)
            pid = gateways.processes()[part]
            async with Flooding(gateways.clients()) as flooding:
                await flooding.flood(sizes.warm_up, sizes.in_flight)
                seconds = await flooding.flood(
                    sizes.reports,
                    sizes.in_flight,
                    told,
                    lambda: sampler.append(Sampler(tool, pid, Path(parent) / "graph.svg", gil=gil)),
                )
                what = "holding the interpreter" if gil else "running or waiting"
                rate = f"{sizes.reports / seconds:,.0f} reports a second, being sampled"
                return sampler[0].stop(f"Signalfire, {part}: {sizes.reports:,} tracks, {what} ({rate})")
        finally:
            await gateways.stop()


def py_spy() -> str | None:
    """Where the sampler is, if it is installed: beside this Python, or on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


async def draw(options: argparse.Namespace, tool: str) -> None:
    """All graphs that the command line asks for. Raises SystemFailed."""
    sizes = Sizes(reports=options.reports, in_flight=options.in_flight)
    gateways = Gateways()
    options.dir.mkdir(parents=True, exist_ok=True)
    label = f"-{options.label}" if options.label else ""
    with figures.progress() as progress:
        for part in options.parts.split(","):
            bar = progress.add_task(f"{part}: tracks while it is sampled", total=sizes.reports)
            told = partial(_update, progress, bar)
            text = await graph(gateways, part, sizes, tool, gil=options.gil, told=told)
            progress.update(bar, completed=sizes.reports)
            file = options.dir / f"flame-{part.replace(' ', '-')}{label}.svg"
            file.write_text(text, encoding="utf-8")
            progress.console.print(f"{file}: {len(text) / 1000:,.0f} kB")
            if len(text) > MOST_BYTES:
                progress.console.print(
                    f"  more than the {MOST_BYTES / 1000:,.0f} kB that are to be kept; sample for less long"
                )


def _update(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


def main() -> None:
    """Draws what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="origin,recipient", help="of origin, recipient, recipient 2")
    parser.add_argument("--reports", type=int, default=6000, help="tracks while one part is sampled")
    parser.add_argument("--in-flight", type=int, default=Sizes().in_flight, help="of them unacknowledged at once")
    parser.add_argument("--everything", dest="gil", action="store_false", help="also what waits for the disk")
    parser.add_argument("--dir", type=Path, default=figures.RESULTS, help="where the graphs go")
    parser.add_argument("--label", default="", help="ends the names of their files")
    options = parser.parse_args()
    tool = py_spy()
    if tool is None:
        sys.exit("py-spy is not here: `make bench-tools` installs it")
    try:
        asyncio.run(draw(options, tool))
    except SystemFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
