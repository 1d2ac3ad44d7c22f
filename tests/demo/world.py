"""The scenario files of this repository, loaded once, and their timelines."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path

from gateway.demo.reports import TimedReport, timeline
from gateway.demo.scenario import Scenario, load_scenario

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "ops" / "demo").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
SHIFT = timedelta(days=5000, hours=3, microseconds=7)
SEED = 7


@cache
def scenario(name: str) -> Scenario:
    return load_scenario(ROOT / "ops" / "demo" / f"{name}.yaml")


@cache
def played(name: str) -> tuple[TimedReport, ...]:
    return tuple(timeline(scenario(name), shift=SHIFT, seed=SEED))
