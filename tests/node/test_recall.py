"""The withdrawal follows every report to everyone who had it, whatever lies between; subscribers see what stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from signalfire.v1 import report_pb2

from gateway.client import CaughtUp, Picture, Received, Withdrawn
from gateway.reports.kinds import Kind
from policy.approve import Resume, Suspend
from tests.node.nations import World, cancellation, report, running, settle
from tests.node.waiting import until
from tests.officer.enact.bringing import bring


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(settle(tmp_path, "JPN", "KOR", "USA")) as made:
        yield made


def correction(earlier: report_pb2.Report) -> report_pb2.Report:
    return report(Kind.CORRECTION, correction__report_ids=[earlier.report_id], event_id=earlier.event_id)


def all_clear(earlier: report_pb2.Report) -> report_pb2.Report:
    return report(Kind.ALL_CLEAR, event_id=earlier.event_id)


def cancelled(earlier: report_pb2.Report) -> report_pb2.Report:
    return cancellation(earlier.report_id, event_id=earlier.event_id)


def seen(world: World, name: str) -> Picture:
    """What the C2 system of a nation has before it."""
    picture = Picture()
    for item in world.inboxes[name].items:
        picture.take(item)
    return picture


def is_withdrawn(world: World, name: str, earlier: report_pb2.Report) -> bool:
    shown = seen(world, name).get("JPN", earlier.report_id)
    return shown is not None and shown.report is not None and shown.withdrawn


async def withdrawn_once(world: World, name: str, *earlier: report_pb2.Report) -> None:
    """Returns once these reports are there and shown withdrawn, and each was told of at most once."""
    inbox, ids = world.inboxes[name], {each.report_id for each in earlier}

    def all_withdrawn() -> bool:
        if len(inbox.items) < len(ids):
            return False
        shown = {each.report_id for each in seen(world, name) if each.report is not None and each.withdrawn}
        return ids <= shown

    await inbox.holds(all_withdrawn, f"withdrawals at {name}")
    # A report that its withdrawal overtook comes withdrawn already.
    told = [item.report_id for item in inbox.items if isinstance(item, Withdrawn) and item.report_id in ids]
    already = {item.report.report_id for item in inbox.items if isinstance(item, Received) and item.withdrawn}
    assert len(told) == len(set(told))
    assert ids <= {*told, *already}


@pytest.mark.parametrize("recall", [correction, cancelled, all_clear], ids=lambda recall: recall.__name__)
async def test_a_recall_of_each_kind_reaches_everyone_who_had_the_report_and_nobody_else(
    world: World, recall: object
) -> None:
    assert callable(recall)
    detection = await world.carries("JPN", "KOR", "USA")
    track = report(Kind.TRACK, event_id=detection.event_id, marking__releasable_to=["USA"])
    other = report(event_id="another")
    assert all(result.accepted for result in (await world.push("JPN", track, other)).values())
    await world.inboxes["USA"].report(track.report_id)
    await world.inboxes["KOR"].report(other.report_id)
    assert (await world.push_one("JPN", recall(detection))).accepted
    await withdrawn_once(world, "KOR", detection)
    await withdrawn_once(world, "USA", *([detection, track] if recall is all_clear else [detection]))
    for name in ("KOR", "USA"):
        assert not is_withdrawn(world, name, other)


async def test_a_partner_that_was_offline_is_told_though_its_origin_was_started_again_meanwhile(world: World) -> None:
    had = await world.carries("JPN", "KOR", "USA")
    await world.stop("KOR")
    never_had = report(Kind.TRACK)
    assert (await world.push_one("JPN", never_had)).accepted
    for each in (had, never_had):
        assert (await world.push_one("JPN", cancelled(each))).accepted
    await world.stop("JPN")
    await world.start("JPN")
    await world.start("KOR")
    # The subscriber begins anew: what he had is there, and withdrawn; what he never had arrives withdrawn.
    await world.inboxes["KOR"].holds(
        lambda: is_withdrawn(world, "KOR", had) and is_withdrawn(world, "KOR", never_had), "both, withdrawn"
    )
    await withdrawn_once(world, "USA", had, never_had)
    for each in (had, never_had):
        delivered = [item for item in world.inboxes["KOR"].items if getattr(item, "report", None) == each]
        assert len(delivered) <= 1


async def test_a_partner_that_was_suspended_is_told_once_it_is_resumed(world: World) -> None:
    had = await world.carries("JPN", "KOR", "USA")
    assert await bring(world.places["JPN"], Suspend("KOR", "A leak"), "carol") == set()
    assert (await world.push_one("JPN", cancelled(had))).accepted
    await withdrawn_once(world, "USA", had)
    await until(lambda: world.metric("JPN", "signalfire_untold_withdrawals", partner="KOR") == 1, "it waits for KOR")
    assert not is_withdrawn(world, "KOR", had)
    assert await bring(world.places["JPN"], Resume("KOR"), "alice", "bob") == set()
    await withdrawn_once(world, "KOR", had)
    await until(lambda: world.metric("JPN", "signalfire_untold_withdrawals", partner="KOR") == 0, "nothing waits")


async def test_what_a_receiver_has_before_it_is_the_same_whether_it_listened_or_comes_late(world: World) -> None:
    stands, recalled = await world.carries("JPN", "KOR"), await world.carries("JPN", "KOR")
    assert (await world.push_one("JPN", cancelled(recalled))).accepted
    await withdrawn_once(world, "KOR", recalled)
    late = Picture()
    for item in await world.collect("KOR"):
        late.take(item)
    for picture in (seen(world, "KOR"), late):
        states = {each.report_id: each.withdrawn for each in picture}
        assert (states[stands.report_id], states[recalled.report_id]) == (False, True)


async def test_a_nation_sees_its_own_recalled_reports_withdrawn(world: World) -> None:
    own, warned = Picture(), report()
    assert (await world.push_one("JPN", warned)).accepted
    assert (await world.push_one("JPN", all_clear(warned))).accepted
    items = await world.collect("JPN", include_own=True)
    assert isinstance(items[-1], CaughtUp)
    for item in items:
        own.take(item)
    shown = own.get("JPN", warned.report_id)
    assert shown is not None
    assert shown.withdrawn


async def test_an_all_clear_of_hundreds_of_tracks_reaches_everyone_and_a_new_warning_goes_between(
    world: World,
) -> None:
    tracks = [report(Kind.TRACK, event_id="a-long-flight") for _ in range(600)]
    assert all(result.accepted for result in (await world.push("JPN", *tracks)).values())
    assert (await world.push_one("JPN", report(Kind.ALL_CLEAR, event_id="a-long-flight"))).accepted
    warning = await world.carries("JPN", "KOR", "USA")
    for name in ("KOR", "USA"):
        await withdrawn_once(world, name, *tracks)
        assert not is_withdrawn(world, name, warning)
