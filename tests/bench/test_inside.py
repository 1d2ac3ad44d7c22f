"""The benchmarks of one node inside this process: that they run, and that what they tell is what was measured."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.progress import Progress

from bench import charts, figures, growth, nodes, operations, tables
from bench.charts import Panel
from bench.load import Measured, Sizes
from bench.nodes import Node
from bench.serving import HOUR_S, ROUNDS, SHORTEST_S, Watched, compared, memory_mb
from bench.traffic import Traffic, new_tag
from gateway.release.sequencer import SequencerLimits
from policy import Circumstances, Outcome
from policy.vocabulary import Posture
from tests.reports.examples import NOW


async def test_every_operation_is_measured_at_every_size(tmp_path: Path) -> None:
    done: list[None] = []
    found = await operations.measure(tmp_path, (1, 3), 2, lambda: done.append(None), at_least=3)
    assert len(done) == 4
    assert found.found.keys() == operations.OPERATIONS.keys()
    for by_size in found.found.values():
        assert by_size.keys() == {1, 3}
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in by_size.values())
    # The whole is more than what is in it.
    for whole, part in (
        (operations.ORIGIN, "SQLite at the origin"),
        (operations.RECIPIENT, "SQLite at the recipient"),
    ):
        assert all(sum(found.found[whole][size]) > sum(found.found[part][size]) for size in (1, 3))
    assert min(found.folding.values()) > 0
    kept = operations.as_json(found, figures.machine())["cpu_us_a_report"]
    assert kept["decide"]["3"]["min"] == min(found.found["decide"][3])
    assert operations.table(found, (1, 3)).row_count == len(operations.OPERATIONS)


async def test_a_store_is_filled_to_each_size_by_commits(tmp_path: Path) -> None:
    stores = await growth.filled(tmp_path, [400, 800], Progress(disable=True))
    for size, path in stores.items():
        held = nodes.holds(path)
        assert size <= held["entries"] < size + 10
        # An entry for each of two partners, and a decision; the rest are openings of epochs and recovery records.
        assert 0.85 * size < 3 * held["reports"] < held["entries"]


@pytest.mark.parametrize("rules", [10, 100])
def test_policies_that_grow_ask_all_their_rules_and_release(rules: int) -> None:
    partners = growth.codes(3)
    policy = growth.rulebook(partners, rules).policy
    assert policy is not None
    assert set(policy.partners) == set(partners)
    report = Traffic().track(new_tag(), 0)
    report.marking.releasable_to[:] = partners
    for partner in partners:
        decided = policy.decide(report, partner, Circumstances(datetime.now(UTC), Posture.ROUTINE))
        assert (decided.outcome, decided.rule) == (Outcome.RELEASED, "prk-launch-warning")
        assert len(decided.traces) == (rules - 1 + 2) // 3 + 1


async def test_what_took_two_commits_is_not_measured_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_LIMITS", SequencerLimits(steps=1))
    partners = growth.codes(2)
    async with Node.of("JPN", tmp_path / "jpn.db", partners, growth.rulebook(partners, 2)) as node:
        with pytest.raises(RuntimeError, match="2 steps took 2 commits"):
            await node.commit(*nodes.taken(Traffic().launches()[:2]))


def test_the_slope_is_that_of_the_later_samples() -> None:
    times = [SHORTEST_S * share for share in (0.0, 0.1, 0.4, 0.6, 0.8, 1.0)]
    watched = Watched(1.0, 100.0, [(at, 5.0 if at < 100 else 200 + 30 * at / HOUR_S) for at in times])
    assert watched.slope() == pytest.approx(30.0)
    assert Watched(1.0, 100.0, watched.samples[:3]).slope() is None


def test_memory_is_that_of_the_process() -> None:
    assert 10 < memory_mb(os.getpid(), "VmRSS") <= memory_mb(os.getpid(), "VmHWM")


async def test_a_store_that_grew_is_compared_with_the_first_in_turns(tmp_path: Path) -> None:
    partners = growth.codes(2)
    policy = growth.rulebook(partners, 2)
    async with (
        Node.of("JPN", tmp_path / "grown.db", partners, policy) as grown,
        Node.of("JPN", tmp_path / "first.db", partners, policy) as first,
    ):
        await nodes.fill(grown, partners, 300, lambda held: None)
        found = await compared(300, grown, first, partners)
    assert len(found.here) == len(found.first) == ROUNDS
    assert min(found.here + found.first) > 0
    assert min(found.folding, found.folding_first) > 0
    assert found.holds["entries"] >= 300
    found.here, found.first = [2.0, 9.0, 3.0], [1.0, 3.0, 2.0]
    assert found.ratio() == 2.0


def test_figures_are_kept_and_drawn(tmp_path: Path) -> None:
    assert figures.summed([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0, "rounds": [3.0, 1.0, 2.0]}
    figures.keep(tmp_path / "further" / "found.json", {"now": NOW})
    assert json.loads((tmp_path / "further" / "found.json").read_text(encoding="utf-8")) == {"now": NOW}


def test_the_same_figures_make_the_same_charts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shown = {"a line": [(1.0, 2.0), (10.0, 3.0)]}
    panels = [
        Panel("one", "ms", {"a system": {"median": 1.5, "longest": 250.0}}),
        Panel("other", "µs", {"a system": {"origin": 1.0, "recipient": 2.0}, "another": {"origin": 5.0}}, stacked=True),
    ]
    for name in ("one", "other"):
        assert charts.lines(tmp_path / f"{name}.svg", shown, title="title", across="across", up="up") is None
        assert charts.bars(tmp_path / f"{name}-bars.svg", panels) is None
    for ending, texts in ((".svg", ("a line",)), ("-bars.svg", ("a system", "another", "longest", "250", "recipient"))):
        drawn = (tmp_path / f"one{ending}").read_text(encoding="utf-8")
        assert drawn == (tmp_path / f"other{ending}").read_text(encoding="utf-8")
        assert all(text in drawn for text in texts)


def test_the_comparison_is_drawn_of_what_was_measured() -> None:
    measured = Measured(
        reports=10, seconds=2.0, acknowledged_seconds=1.0, cpu={"origin": 1e-3, "producer": 5e-3}, idle=[0.004, 0.002]
    )
    throughput, spent, alone = tables.panels({"a system": [measured]}, Sizes(reports=10))
    assert throughput.bars == {"a system": {"reports/s": 5.0}}
    assert spent.bars == {"a system": {"origin": pytest.approx(100.0)}}
    assert alone.bars == {"a system": {"median": 2.0, "99 of 100": 4.0}}
