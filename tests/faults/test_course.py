"""Short courses: real gateways through every kind of fault, and then everything is judged. The long one: `make soak`.

Other courses are run with other seeds: SIGNALFIRE_FAULT_SEEDS="1 2 3". Schedule and reports follow from them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.harness import Course, Run
from tests.faults.judging import judge_stores
from tests.faults.schedule import STORES, Fault, Kind
from tests.faults.striking import STRIKES
from tests.faults.traffic import ALL, Sensors
from tests.node.nations import report

SEEDS = [int(seed) for seed in os.environ.get("SIGNALFIRE_FAULT_SEEDS", "1").split()]

KINDS = [kind for kind in STRIKES if kind not in STORES]
"""Every kind but those after which a nation's officer has to do something."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_doubled_or_leaked_though_everything_fails_in_turn(tmp_path: Path, seed: int) -> None:
    course = Course(seed, KINDS, faults=len(KINDS), duration_s=14.0, longest_s=2.5, relayed=seed % 2 == 1)
    said: list[str] = []
    run = Run(course, tmp_path, say=said.append)
    outcome = await run.play()
    books = outcome.books

    assert outcome.faults == [], said
    # The course was as hard as it was meant to be.
    assert sorted(each.fault for each in books.struck) == list(run.schedule)
    assert len({each.fault.kind for each in outcome.struck}) >= len(KINDS) * 2 // 3
    # How much is seen while the course lasts depends on the machine.
    assert len(books.accepted) == len(books.pushed) > 75
    assert books.received.total() > 100
    assert books.withdrawn
    pushed = {made.WhichOneof("content") for made in books.pushed.values()}
    assert {"cancellation", "correction", "all_clear", "impact_prediction"} <= pushed
    # Some withdrawals overtook their reports, and everybody read everything again in the end.
    assert any(item.withdrawn for stream in books.streams.values() for item in stream.received)
    assert sorted(books.again) == sorted(books.nodes)
    assert outcome.opened > 100
    assert outcome.compared > 50

    # What is looked for would be found.
    with (run.places["KOR"].directory / "gateway.log").open("a") as log:
        log.write(f"{ALL}/radar-1\n")
    nowhere = report(node="KOR")
    books.push("KOR", nowhere, 0.0)
    books.accepted["KOR", nowhere.report_id] = 0.0
    stream = books.streams["JPN", 0]
    given = stream.received[0]
    stream.items[stream.items.index(given)] = replace(given, index=given.index + 1)
    found = judge_stores(run.places, books=books).faults
    assert sorted(what.split(":")[0] for what in found) == ["altered", "leaked", "lost"]


async def test_what_was_acknowledged_after_an_old_backup_is_there_again_once(tmp_path: Path) -> None:
    fault = Fault(0.2, 4.0, Kind.OLD_BACKUP, "JPN", chance=1)
    run = Run(Course(1, (), ("JPN", "KOR"), duration_s=5.0, given=[fault]), tmp_path)
    outcome = await run.play()
    assert outcome.faults == []
    assert len(outcome.struck) == 1
    assert len(outcome.books.accepted) == len(outcome.books.pushed) > 15
    # The gateway noticed by itself, and asked for what it had lost.
    assert run.wishes["JPN"]


def test_a_course_that_is_played_again_has_the_same_faults_and_the_same_reports() -> None:
    course = Course(7, list(Kind), faults=10)
    assert course.schedule() == Course(7, list(Kind), faults=10).schedule()
    one, again = (Sensors("JPN", course.nodes, course.seed) for _ in range(2))
    assert [one.see(()).report_id for _ in range(50)] == [again.see(()).report_id for _ in range(50)]
