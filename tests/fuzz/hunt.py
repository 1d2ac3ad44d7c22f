"""Searches one parser, or all of them, for what they should not do, by what libFuzzer sees of the code (`make fuzz`).

    python -m tests.fuzz.hunt --seconds 60              every target, for a minute each
    python -m tests.fuzz.hunt note heartbeat            two of them
    python -m tests.fuzz.hunt --merge                   also keeps in the corpus what reached something new

What is found is written to `tests/fuzz/findings/<target>/`, where `make test` reads it from then on. Each target runs
in a process of its own: a crash, or a parser that never ends, is a finding like any other.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.every_target import CORPUS, FINDINGS, TARGETS

MAX_LENGTH: Final = 8192
"""Bytes of an input: what is larger is refused by its length at every door, and slows the search."""

KEPT: Final = 8
"""Inputs of one target that are kept in the corpus at most."""

_TOLD: Final = ("stat::number_of_executed_units", "stat::new_units_added", "==", "SUMMARY")

PATIENCE_S: Final = 20
"""Seconds after which an input is held to hang its parser."""


def main(arguments: Sequence[str]) -> int:
    """Hunts, and returns how many targets had findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.hunt", description=__doc__.split("\n", 1)[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all unless given")
    parser.add_argument("--seconds", type=int, default=30, help="how long each is searched (30)")
    parser.add_argument("--seed", type=int, default=1, help="where the search begins (1)")
    parser.add_argument("--merge", action="store_true", help="keep in the corpus what reached something new")
    asked = parser.parse_args(arguments)
    unknown = set(asked.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    found = 0
    for name in asked.targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="hunt-") as working:
            found += not _hunt(name, Path(working), asked.seconds, asked.seed, merge=asked.merge)
    print(f"{found} targets have findings" if found else "nothing was found")
    return found


def _hunt(name: str, working: Path, seconds: int, seed: int, *, merge: bool) -> bool:
    """Searches one target; whether nothing was found."""
    grown = working / "grown"
    for directory in (grown, FINDINGS / name, CORPUS / name):
        directory.mkdir(parents=True, exist_ok=True)
    for place, data in enumerate(TARGETS[name].seeds()):
        (grown / f"seed-{place}").write_bytes(data)
    options = [f"-max_len={MAX_LENGTH}", f"-timeout={PATIENCE_S}", "-rss_limit_mb=2048", "-print_final_stats=1"]
    search = [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={FINDINGS / name}/"]
    print(f"--- {name}", flush=True)
    done = _child(name, *options, *search, str(grown), str(CORPUS / name))
    told = [
        line
        for line in done.stderr.splitlines()
        if line.startswith(("stat::number_of", "stat::new_units", "==", "SUMMARY"))
    ]
    print("\n".join(told[-4:]) if done.returncode == 0 else done.stderr[-4000:], flush=True)
    if merge and done.returncode == 0:
        known = {path.read_bytes() for path in CORPUS.joinpath(name).iterdir()}
        room = max(0, KEPT - len(known))
        new = sorted((path for path in grown.iterdir() if path.read_bytes() not in known), key=_size)
        # From the shortest to the longest, as many as there is room for.
        for path in new[:: max(1, -(-len(new) // room))] if room else ():
            shutil.copy(path, CORPUS / name / path.name)
    for directory in (FINDINGS / name, CORPUS / name):
        if not any(directory.iterdir()):
            directory.rmdir()
    return done.returncode == 0


def _size(path: Path) -> int:
    return path.stat().st_size


def _child(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.search", name, *options]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
