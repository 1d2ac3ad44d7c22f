"""A commit that fails for one of its steps, in a way that nobody foresaw: that step alone is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.ledger.stores import FeedItem, FeedRow
from gateway.release.errors import StepBroken, Unavailable
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from tests.release.test_sequencer import assert_one_history, assert_sound, in_time, opened, outcomes, taking
from tests.reports.examples import launch_detection


def too_large_for_the_store(plan: Plan) -> None:
    """The commit itself fails: no column holds such a number."""
    plan.commit.feed.append(
        FeedRow(plan.next_feed(), FeedItem.REPORT, None, 2**64, "JPN", bytes(16), 1, 1, 1, plan.now_ns)
    )


def nothing_to_finish(plan: Plan) -> None:
    """The commit cannot be completed: what it is to write are no identifiers."""
    plan.identifiers("a value")[None] = None  # type: ignore[index]


@dataclass(frozen=True)
class Poisoning:
    """Goes well by itself, and has the commit fail that it is part of."""

    how: Callable[[Plan], None]
    weight: int = 0
    rank: Rank = Rank.FLASH

    def apply(self, plan: Plan) -> None:
        plan.ledgers.writer("KOR", "flash").append(b"of a commit that fails")
        self.how(plan)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jpn.sqlite"


@pytest.mark.parametrize("how", [too_large_for_the_store, nothing_to_finish])
async def test_a_step_for_which_its_commit_fails_is_answered_alone_and_the_store_stays_open(
    path: Path, how: Callable[[Plan], None]
) -> None:
    async with opened(path) as running:
        running.run()
        await running.take(launch_detection(1))
        openings = running.faults.openings
        reports = [launch_detection(seed) for seed in range(2, 9)]
        tasks = await running.queue(*map(taking, reports[:5]), Poisoning(how), *map(taking, reports[5:]))
        *first, broken, sixth, seventh = await outcomes(tasks)
        assert isinstance(broken, StepBroken)
        assert "its commit failed" in str(broken)
        assert not any(taken.duplicate for taken in (*first, sixth, seventh))
        # Also where nothing else waits, and however often it comes.
        for _ in range(3):
            with pytest.raises(StepBroken):
                await in_time(running.sequencer.do(Poisoning(how)))
        (taken,) = await running.take(launch_detection(9))
        assert not isinstance(taken, Unavailable)
        assert running.sequencer.problem is None
        assert running.faults.openings == openings, "there was nothing in doubt"
    assert_one_history(running)
    assert_sound(path, launch_detection(1), *reports, launch_detection(9))


async def test_no_step_is_blamed_where_no_commit_succeeds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as running:
        running.run()
        await running.take(launch_detection(1))
        with monkeypatch.context() as without_a_key:
            without_a_key.setattr(running.sequencer._taking_up._signatory, "log", None)
            tasks = await running.queue(taking(launch_detection(2)), taking(launch_detection(3)))
            assert [type(outcome) for outcome in await outcomes(tasks)] == [Unavailable, Unavailable]
        await in_time(running.reopened.wait())
        await running.take(launch_detection(2))
    assert_sound(path, launch_detection(1), launch_detection(2))
