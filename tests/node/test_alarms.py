"""What operators hear of warnings that do not arrive, go to nobody, or come too late: with real gateways."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.deployment import Deployed
from gateway.identity import next_bundle
from gateway.release.after_all_clear import EVENT
from gateway.release.plan import Plan
from gateway.release.steps import ReceiveBatch
from gateway.reports.kinds import Kind
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until


def alarms(world: World, name: str, words: str) -> list[str]:
    """What stands at one node and says this."""
    return [alarm for alarm in world.nodes[name].status().alarms if words in alarm]


async def told(world: World, name: str, words: str) -> None:
    """Returns when an alarm of a node says this."""
    await until(lambda: bool(alarms(world, name, words)), f"{name} tells {words!r}")


async def over(world: World, name: str, words: str) -> None:
    """Returns when none says it any more."""
    await until(lambda: not alarms(world, name, words), f"{name} tells {words!r} no more")


async def test_the_recipient_hears_of_a_lane_that_it_cannot_take_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"alarms": {"entries_owed_s": 0.3}})
    apply = ReceiveBatch.apply

    def failing(step: ReceiveBatch, plan: Plan) -> object:
        if plan.signatory.node == "KOR" and step.batch.origin.lane == "flash":
            raise ZeroDivisionError("a fault in taking one entry")
        return apply(step, plan)

    async with running(places) as world:
        assert not alarms(world, "KOR", "do not come")
        monkeypatch.setattr(ReceiveBatch, "apply", failing)
        warning = report(node="JPN")
        assert (await world.push_one("JPN", warning)).accepted
        await told(world, "KOR", "JPN shows entries in lane flash that do not come: nothing for ")
        await world.carries("KOR", "JPN")
        monkeypatch.undo()
        await world.inboxes["KOR"].report(warning.report_id)
        await over(world, "KOR", "do not come")


def renew(of: Deployed, at: Deployed, lifetime: timedelta) -> None:
    """Signs the next bundle of a nation, and gives it to a partner."""
    next_bundle.write_bundle(of.directory / "pki", now=datetime.now(UTC), lifetime=lifetime)
    shutil.copy(of.directory / "pki" / "bundle.note", at.directory / "partners" / f"{of.node}.bundle.note")


async def test_a_bundle_that_expires_is_told_and_so_are_the_warnings_that_are_withheld_for_it(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR")
    async with running(places) as world:
        assert not alarms(world, "JPN", "expire")
        renew(places["KOR"], places["JPN"], timedelta(days=20))
        await told(world, "JPN", "the trust bundle of KOR expires at ")
        renew(places["KOR"], places["JPN"], timedelta(seconds=2))
        await told(world, "JPN", "the trust bundle of KOR expired at ")
        for _ in range(2):
            assert (await world.push_one("JPN", report(node="JPN"))).accepted
        await told(world, "JPN", "FLASH withheld from KOR: there is no valid trust bundle of KOR (2 LIVE since ")
        renew(places["KOR"], places["JPN"], timedelta(days=365))
        await over(world, "JPN", "expire")
        assert alarms(world, "JPN", "FLASH withheld from KOR"), "nobody makes up for them"
        await world.carries("JPN", "KOR")
        await over(world, "JPN", "FLASH withheld")


async def test_a_warning_after_the_all_clear_of_its_event_is_told_until_it_is_recalled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(settle(tmp_path, "JPN", "KOR")) as world:
        assert (await world.push_one("JPN", report(Kind.ALL_CLEAR, node="JPN", event_id="E"))).accepted
        late = report(node="JPN", event_id="E")
        for time in (late.report_time, late.valid_time, late.launch_detection.launch_time):
            time.seconds -= 50
        assert (await world.push_one("JPN", late)).accepted
        await world.inboxes["KOR"].report(late.report_id)
        await told(world, "JPN", f"after the all-clear of its event, and stands: {late.report_id}")
        assert f"report {late.report_id} was accepted after the all-clear of its event 'E', and stands" in caplog.text
        assert (await world.event("JPN", EVENT)).detail.startswith(late.report_id)
        assert late.report_id not in world.inboxes["KOR"].withdrawn
        assert (await world.push_one("JPN", report(Kind.ALL_CLEAR, node="JPN", event_id="E"))).accepted
        await world.inboxes["KOR"].withdrawal(late.report_id)
        await over(world, "JPN", "after the all-clear")
