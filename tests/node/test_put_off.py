"""Running gateways decide also what they put off when it came."""

from __future__ import annotations

from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.reports.kinds import Kind
from tests.node.nations import report, running, settle
from tests.node.waiting import until


@pytest.mark.parametrize("kind", [Kind.LAUNCH_DETECTION, Kind.TRACK])
async def test_what_may_go_onward_and_came_all_at_once_is_decided_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr("gateway.release.put_off.COPIES_A_STEP", 1)
    places = settle(tmp_path, "JPN", "KOR", "USA")
    async with running(places, "JPN", "USA") as world:
        pushed = [report(kind, "USA", marking__onward_release=["KOR"]) for _ in range(20)]
        assert all(result.accepted for result in (await world.push("USA", *pushed)).values())
        assert "in its order" in (await world.event("JPN", "passing-on-put-off")).detail
        for each in pushed:
            decided = await world.decisions("JPN", each.report_id)
            assert {partner: decision.outcome for partner, decision in decided.items()} == {
                "KOR": ledger_pb2.OUTCOME_WITHHELD
            }


async def test_what_waits_is_told_by_partner_and_lane(tmp_path: Path) -> None:
    # One more every 100 s.
    few = {"reports": {"onward_alerts_s": 0.01, "onward_alerts_burst": 1}}
    places = settle(tmp_path, "JPN", "KOR", "USA", limits=few)
    async with running(places, "JPN", "USA") as world:
        pushed = [report(Kind.LAUNCH_DETECTION, "USA", marking__onward_release=["KOR"]) for _ in range(20)]
        await world.push("USA", *pushed)
        await world.event("JPN", "passing-on-put-off")
        name, waiting = "signalfire_put_off_entries", {"partner": "USA", "lane": "flash"}
        await until(lambda: world.metric("JPN", name, **waiting) > 0, "nothing is told of what waits")
        assert world.metric("JPN", name, partner="KOR", lane="flash") == 0
        assert world.metric("JPN", name, partner="USA", lane="immediate") == 0
