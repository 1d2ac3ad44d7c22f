"""A gateway on an older copy of its store, of which nobody knows yet: what it does not know is not refused for good."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from signalfire.v1 import c2_pb2

from gateway.exchange.partners import Link
from gateway.ledger.origin import WITNESS, Lane
from gateway.node.shown import WAITED_S, Shown
from tests.node.connecting import request_of, submit_bytes
from tests.node.nations import cancellation, forget, report, running, settle
from tests.node.waiting import until

LANES = (*Lane, WITNESS)


async def test_a_recall_of_what_an_older_copy_does_not_know_waits_until_a_partner_has_shown_the_loss(
    tmp_path: Path,
) -> None:
    places = settle(tmp_path, "JPN", "KOR")
    jpn, copy = places["JPN"], tmp_path / "copy.db"
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await world.stop("JPN")
        shutil.copy(jpn.store, copy)
        await world.start("JPN")
        await world.linked()
        lost = await world.carries("JPN", "KOR")
        await world.stop("KOR")
        await world.stop("JPN")
        forget(jpn)
        shutil.copy(copy, jpn.store)
        jpn.store.chmod(0o600)
        await world.start("JPN")

        recall = cancellation(lost.report_id)
        (answer,) = await submit_bytes(jpn, request_of(recall))
        assert answer.refused.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
        assert answer.refused.retry_after_ms > 0
        # So a client goes on, and once a partner has shown the loss it is as after any other.
        recalling = asyncio.create_task(world.push_one("JPN", recall))
        await world.start("KOR")
        await until(lambda: world.nodes["JPN"].status().resubmit.HasField("until"), "JPN asks for what was lost")
        assert (await world.push_one("JPN", lost)).accepted
        assert (await recalling).accepted
        await world.inboxes["KOR"].withdrawal(lost.report_id)


async def test_once_all_partners_were_heard_what_is_not_known_is_refused_for_good(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "KOR")) as world:
        result = await world.push_one("JPN", cancellation(report().report_id))
        assert result.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR


def test_all_partners_have_shown_what_they_hold_once_each_has_followed_every_lane_by_some_way() -> None:
    links = {"KOR": Link(), "USA": Link()}
    shown = Shown(links, lambda: 0.0)
    links["KOR"].followed = dict.fromkeys(LANES, 1)
    assert not shown.by_all()
    links["USA"].followed = dict.fromkeys(LANES[1:], 1)
    assert not shown.by_all()
    # A stream that has ended counts as one that is open.
    links["USA"].carried = {f"{LANES[0]} via KOR": 0}
    assert shown.by_all()
    links["USA"].carried = {}
    assert shown.by_all()


def test_partners_that_are_away_are_not_waited_for_without_end_and_none_is_where_there_is_none() -> None:
    seconds = 1000.0
    shown = Shown({"KOR": Link()}, lambda: seconds)
    seconds += WAITED_S - 1
    assert not shown.by_all()
    seconds += 1
    assert shown.by_all()
    assert Shown({}, lambda: seconds).by_all()
