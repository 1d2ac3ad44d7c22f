"""What officers are shown of the record, by real gateways; that each look is on record first, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import ledger_pb2, officer_pb2, officer_pb2_grpc, report_pb2

from gateway.client import ClientError
from gateway.demo.deployment import PUSHER, Deployed
from gateway.ledger.origin import DECISIONS, Origin
from gateway.release.succeeding import Succeed
from tests.node.connecting import as_officer, as_system
from tests.node.nations import World, cancellation, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

Filter = officer_pb2.DecisionFilter

NOT_RELEASABLE = "(not releasable by its marking)"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """Japan and Korea; an officer may do two searches, one export and two watches at once."""
    limits = {"officers": {"searches": 2, "exports": 1, "watches": 2}}
    return settle(tmp_path_factory.mktemp("nations"), "JPN", "KOR", limits=limits)


@pytest.fixture
async def world(places: dict[str, Deployed]) -> AsyncIterator[World]:
    async with running(places) as made:
        yield made


async def found(world: World, wanted: Filter | None = None, **options: Any) -> list[officer_pb2.RecordedEntry]:
    async with asyncio.timeout(PATIENCE_S):
        searched = world.places["JPN"].officer().search_decisions(wanted, **options)
        return [entry async for entry in searched]


async def looks(world: World) -> list[str]:
    """What is on record of who looked, the latest last; this look is the last of them."""
    return [
        entry.node_event.detail for entry in await found(world, Filter(event_kinds=["audit-access"]), oldest_first=True)
    ]


@contextlib.asynccontextmanager
async def stub(place: Deployed) -> AsyncIterator[officer_pb2_grpc.OfficerServiceAsyncStub]:
    async with as_officer(place) as opened, asyncio.timeout(PATIENCE_S):
        yield officer_pb2_grpc.OfficerServiceStub(opened)


# --- searching


async def test_a_search_finds_by_every_filter_what_was_decided_and_nothing_else(world: World) -> None:
    given, stays = report(), report(marking__releasable_to=["USA"])
    await world.push("JPN", given, stays)
    assert {entry.decision_record.report_id for entry in await found(world)} == {given.report_id, stays.report_id}
    (withheld,) = await found(world, Filter(outcomes=[ledger_pb2.OUTCOME_WITHHELD]))
    assert withheld.decision_record.report_id == stays.report_id
    assert [each.rule for each in withheld.decision_record.decisions] == [NOT_RELEASABLE]
    for wanted in (
        Filter(partners=["KOR"], report_id=given.report_id),
        Filter(rules=["prk-launch-warning"]),
        Filter(agreements=["trilateral-2023"], kinds=["LaunchDetection"]),
        Filter(outcomes=[ledger_pb2.OUTCOME_RELEASED], precedences=[given.precedence]),
    ):
        (entry,) = await found(world, wanted)
        assert entry.decision_record.report_id == given.report_id
    assert not await found(world, Filter(partners=["USA"]))
    assert not await found(world, Filter(traffic_classes=[report_pb2.TRAFFIC_CLASS_TEST]))


async def test_pages_follow_one_another_without_a_gap(world: World) -> None:
    reports = [report() for _ in range(7)]
    for each in reports:
        await world.push_one("JPN", each)
    shown = [entry.decision_record.report_id for entry in await found(world, page_size=2, oldest_first=True)]
    assert shown == [each.report_id for each in reports]
    assert [e.decision_record.report_id for e in await found(world, page_size=3)] == list(reversed(shown))


async def test_an_export_gives_everything_up_to_the_moment_of_the_call_and_ends(world: World) -> None:
    reports = [report() for _ in range(5)]
    await world.push("JPN", *reports)
    async with asyncio.timeout(PATIENCE_S):
        exported = [entry async for entry in world.places["JPN"].officer().export_decisions()]
    assert sorted(e.decision_record.report_id for e in exported) == sorted(each.report_id for each in reports)
    indices = [entry.index for entry in exported]
    assert indices == sorted(indices)


# --- who looked


async def test_every_look_is_on_record_with_who_looked_by_which_call_and_at_what(world: World) -> None:
    officer = world.places["JPN"].officer()
    pushed = report()
    await world.push_one("JPN", pushed)
    await world.inboxes["KOR"].report(pushed.report_id)
    await found(world, Filter(partners=["KOR"], rules=["a-rule"], event_id="ev-1"))
    _ = [entry async for entry in officer.export_decisions(Filter(kinds=["Track"]))]
    await officer.explain(pushed.report_id, partner="KOR")
    async with asyncio.timeout(PATIENCE_S):
        await anext(aiter(officer.watch_decisions()))
    said = [each for each in await looks(world) if "audit-access" not in each]
    who = "spiffe://jpn/officer/officer"
    assert said[-4:] == [
        f"{who}: search: decisions, about the event ev-1, for KOR, by the rules a-rule, 100 newest first",
        f"{who}: export: decisions, about reports of the kinds Track",
        f"{who}: explain: report {pushed.report_id} of JPN for KOR",
        f"{who}: watch: decisions and events, from entry 0 of signalfire/v1/JPN/decisions/1 on",
    ]


async def test_a_look_is_durable_before_anything_is_answered(world: World) -> None:
    await world.push_one("JPN", report())
    before = await looks(world)
    async with stub(world.places["JPN"]) as service:
        answered = await service.SearchDecisions(
            officer_pb2.SearchDecisionsRequest(filter=Filter(events=True), page_size=1)
        )
    # The look itself is the newest event that it finds.
    assert answered.entries[0].node_event.kind == "audit-access"
    assert len(await looks(world)) == len(before) + 2


async def test_what_cannot_be_put_on_record_is_not_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sequencer = world.nodes["JPN"].parts.sequencer
    monkeypatch.setattr(sequencer._door, "problem", "the disk is full")
    async with stub(world.places["JPN"]) as service:
        with pytest.raises(grpc.aio.AioRpcError, match="the disk is full") as refused:
            await service.SearchDecisions(officer_pb2.SearchDecisionsRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_c2_system_is_shown_nothing_and_leaves_no_look(world: World) -> None:
    before = await looks(world)
    async with as_system(world.places["JPN"], PUSHER) as opened:
        service = officer_pb2_grpc.OfficerServiceStub(opened)
        for call in (
            service.SearchDecisions(officer_pb2.SearchDecisionsRequest()),
            service.ExplainDecision(officer_pb2.ExplainDecisionRequest(report_id=str(uuid.uuid4()))),
            service.GetProof(officer_pb2.GetProofRequest(report_id=str(uuid.uuid4()), partner="KOR")),
            service.GetKeyStatus(officer_pb2.GetKeyStatusRequest()),
            aiter(service.ExportDecisions(officer_pb2.ExportDecisionsRequest())).__anext__(),
            aiter(service.Reconcile(officer_pb2.ReconcileRequest(partner="KOR"))).__anext__(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(await looks(world)) == len(before) + 1


# --- bad questions

SOON, LATE = Timestamp(seconds=1_800_000_000), Timestamp(seconds=1_900_000_000)


HOSTILE: list[tuple[Filter, str]] = [
    (Filter(partners=["KOR"] * 10_000), "partners"),
    (Filter(partners=["kor"]), "partners"),
    (Filter(partners=["KOR\x1b[31m"]), "partners"),
    (Filter(originator_node="JAPAN"), "originator_node"),
    (Filter(report_id="0b7c1a2e"), "report_id"),
    (Filter(report_id="0B7C1A2E-0000-4000-8000-000000000001"), "report_id"),
    (Filter(outcomes=[77]), "outcomes"),  # type: ignore[list-item]
    (Filter(outcomes=[ledger_pb2.OUTCOME_UNSPECIFIED]), "outcomes"),
    (Filter(traffic_classes=[9]), "traffic_classes"),  # type: ignore[list-item]
    (Filter(precedences=[-1]), "precedences"),  # type: ignore[list-item]
    (Filter(kinds=["Missile"]), "kinds"),
    (Filter(rules=["\x1b]0;owned\x07"]), "rules"),
    (Filter(rules=["x" * 100_000]), "rules"),
    (Filter(event_id="a\nb"), "event_id"),
    (Filter(since=LATE, until=SOON), "since"),
    (Filter(since=SOON, until=SOON), "since"),
    (Filter(since=Timestamp(seconds=-(10**12))), "since"),
    (Filter(until=Timestamp(seconds=10**15)), "until"),
    (Filter(since=Timestamp(seconds=1, nanos=-5)), "since"),
]


async def test_a_hostile_filter_is_refused_with_what_is_wrong_and_where(world: World) -> None:
    before = len(await looks(world))
    async with stub(world.places["JPN"]) as service:
        for asked, where in HOSTILE:
            export = service.ExportDecisions(officer_pb2.ExportDecisionsRequest(filter=asked))
            watch = service.WatchDecisions(officer_pb2.WatchDecisionsRequest(filter=asked))
            for answer in (
                service.SearchDecisions(officer_pb2.SearchDecisionsRequest(filter=asked)),
                aiter(export).__anext__(),
                aiter(watch).__anext__(),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await answer
                details = refused.value.details() or ""
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert details.startswith(f"{where}: "), details
                assert details.isprintable()
                assert len(details) < 500
    assert len(await looks(world)) == before + 1


async def test_a_page_that_cannot_be_is_refused(world: World) -> None:
    async with stub(world.places["JPN"]) as service:
        for asked, where in (
            (officer_pb2.SearchDecisionsRequest(page_size=2**31), "page_size"),
            (officer_pb2.SearchDecisionsRequest(page_size=1001), "page_size"),
            (officer_pb2.SearchDecisionsRequest(page_token=b"junk"), "page_token"),
            (officer_pb2.SearchDecisionsRequest(page_token=b"\0" * 1_000_000), "page_token"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=f"{where}: ") as refused:
                await service.SearchDecisions(asked)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_token_of_one_search_is_refused_by_another(world: World) -> None:
    await world.push("JPN", report(), report())
    async with stub(world.places["JPN"]) as service:
        first = await service.SearchDecisions(officer_pb2.SearchDecisionsRequest(page_size=1))
        for other in (Filter(partners=["KOR"]), Filter(events=True)):
            with pytest.raises(grpc.aio.AioRpcError, match="page_token: ") as refused:
                await service.SearchDecisions(
                    officer_pb2.SearchDecisionsRequest(filter=other, page_token=first.next_page_token)
                )
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_report_or_partner_that_cannot_be_is_refused(world: World) -> None:
    place, good = world.places["JPN"], str(uuid.uuid4())
    async with stub(place) as service:
        for call, where in (
            (service.ExplainDecision(officer_pb2.ExplainDecisionRequest(report_id="x")), "report_id"),
            (service.ExplainDecision(officer_pb2.ExplainDecisionRequest(report_id=good.upper())), "report_id"),
            (service.ExplainDecision(officer_pb2.ExplainDecisionRequest(report_id=good, partner="FRA")), "partner"),
            (
                service.ExplainDecision(officer_pb2.ExplainDecisionRequest(report_id=good, originator_node="??")),
                "originator_node",
            ),
            (service.GetProof(officer_pb2.GetProofRequest(report_id=good)), "partner"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=f"{where}: ") as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(ClientError, match="NOT_FOUND: JPN has no decision on record about report"):
        await place.officer().explain(good)


# --- bounds


async def test_one_officer_cannot_have_more_going_on_than_he_may(world: World) -> None:
    await world.push_one("JPN", report())
    async with stub(world.places["JPN"]) as service:
        watches = [service.WatchDecisions(officer_pb2.WatchDecisionsRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError, match="2 watches going on") as refused:
            await service.WatchDecisions(officer_pb2.WatchDecisionsRequest()).read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # Other calls have places of their own, and one that ends makes room.
        await service.SearchDecisions(officer_pb2.SearchDecisionsRequest())
        watches[0].cancel()
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await service.WatchDecisions(officer_pb2.WatchDecisionsRequest()).read()
                break


async def test_many_searches_at_once_end_and_leave_nothing_behind(world: World) -> None:
    await world.push_one("JPN", report())
    async with stub(world.places["JPN"]) as service:
        results = await asyncio.gather(
            *(service.SearchDecisions(officer_pb2.SearchDecisionsRequest()) for _ in range(20)), return_exceptions=True
        )
        refused = [each for each in results if isinstance(each, grpc.aio.AioRpcError)]
        assert {each.code() for each in refused} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(refused) < len(results)
        assert (await service.SearchDecisions(officer_pb2.SearchDecisionsRequest())).entries


# --- watching


async def test_a_live_watch_misses_nothing_from_its_beginning_and_shows_nothing_before(world: World) -> None:
    before, after = report(), report()
    await world.push_one("JPN", before)
    async with stub(world.places["JPN"]) as service:
        wanted = Filter(partners=["KOR"])
        watching = service.WatchDecisions(officer_pb2.WatchDecisionsRequest(filter=wanted, live_only=True))
        begins = dict(await watching.initial_metadata())
        await world.push_one("JPN", after)
        entry = (await aiter(watching).__anext__()).entry
        assert entry.decision_record.report_id == after.report_id
        # Whoever is cut off before anything came goes on from where the watch began.
        again = world.places["JPN"].officer().watch_decisions(int(begins["signalfire-from-index"]), wanted=wanted)
        assert (await anext(aiter(again))).index == entry.index


async def test_a_watch_goes_on_into_the_next_generation_of_the_ledger(world: World) -> None:
    one, two = report(), report()
    await world.push_one("JPN", one)
    origin = Origin("JPN", None, DECISIONS, 1)
    await world.nodes["JPN"].parts.sequencer.do(Succeed(origin, ledger_pb2.SUCCESSION_REASON_RESTORE, b"evidence"))
    await world.push_one("JPN", two)
    shown: list[tuple[str, str]] = []
    async with asyncio.timeout(PATIENCE_S):
        async for entry in world.places["JPN"].officer().watch_decisions(wanted=Filter(partners=["KOR"])):
            shown.append((entry.ledger, entry.decision_record.report_id))
            if len(shown) == 2:
                break
    assert [report_id for _, report_id in shown] == [one.report_id, two.report_id]
    assert shown[0][0] == str(origin) != shown[1][0]
    assert {entry.decision_record.report_id for entry in await found(world)} == {one.report_id, two.report_id}


async def test_a_watch_from_a_place_that_is_not_there_is_refused_and_who_tried_is_on_record(world: World) -> None:
    before = len(await looks(world))
    async with stub(world.places["JPN"]) as service:
        for place, where in (
            (officer_pb2.WatchDecisionsRequest(from_index=2**40), "from_index"),
            (officer_pb2.WatchDecisionsRequest(generation=7), "generation"),
            (officer_pb2.WatchDecisionsRequest(generation=2**64 - 1), "generation"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=f"{where}: ") as refused:
                await service.WatchDecisions(place).read()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # How long the record is, is told to nobody before he is on it. The last makes no sense wherever it stands.
    assert len(await looks(world)) == before + 3


# --- explaining


async def test_what_a_partner_was_given_is_explained_with_rule_policy_copy_and_receipt(world: World) -> None:
    pushed = report()
    await world.push_one("JPN", pushed)
    await world.inboxes["KOR"].report(pushed.report_id)
    officer = world.places["JPN"].officer()
    flash = Origin("JPN", "KOR", "flash", 1)
    await until(
        lambda: any(each.receipt_size for each in world.nodes["JPN"].status().ledgers if each.origin == str(flash)),
        "the receipt of KOR",
    )
    told = await officer.explain(pushed.report_id)
    assert told.report == pushed
    (view,) = told.partners
    assert (view.partner, view.ledger) == ("KOR", "signalfire/v1/JPN/KOR/flash/1")
    assert not view.copy.originator_station
    assert view.copy.launch_detection.launch_point == pushed.launch_detection.launch_point
    assert view.receipt_size > view.index
    (policy,) = told.policies
    assert (policy.order_sequence, list(policy.officers)) == (1, ["alice", "bob"])
    rule, agreement = policy.rules
    assert (rule.path, rule.rule) == ("partners/KOR.yaml", "prk-launch-warning")
    lines = (world.places["JPN"].policy / rule.path).read_text("utf-8").split("\n")
    assert lines[rule.line - 1].strip() == rule.text.split("\n")[0] == "- name: prk-launch-warning"
    assert "reason: Trilateral agreement of 2023, launches from the DPRK only" in rule.text
    assert (agreement.path, agreement.rule) == ("policy.yaml", "trilateral-2023")
    assert "until: 2033-12-19" in agreement.text


async def test_what_no_longer_stands_is_explained_with_when_the_partner_was_told(world: World) -> None:
    pushed = report()
    await world.push_one("JPN", pushed)
    await world.push_one("JPN", cancellation(pushed.report_id))
    told = await world.places["JPN"].officer().explain(pushed.report_id, partner="KOR")
    assert told.HasField("withdrawn_time")
    assert told.partners[0].withdrawn_time.ToNanoseconds() >= told.withdrawn_time.ToNanoseconds() - 10**9


async def test_what_stayed_is_explained_without_a_copy(world: World) -> None:
    pushed = report(marking__releasable_to=["USA"])
    await world.push_one("JPN", pushed)
    told = await world.places["JPN"].officer().explain(pushed.report_id)
    (view,) = told.partners
    assert (view.partner, view.ledger, view.HasField("copy")) == ("KOR", "", False)
    assert told.records[0].decision_record.decisions[0].rule == NOT_RELEASABLE


async def test_a_proof_is_made_of_what_was_released_and_of_nothing_else(world: World) -> None:
    given, stays = report(), report(marking__releasable_to=["USA"])
    await world.push("JPN", given, stays)
    officer = world.places["JPN"].officer()
    answer = await officer.proof(given.report_id, "KOR")
    assert answer.proof.startswith(b"c2sp.org/tlog-proof@v1\n")
    with pytest.raises(ClientError, match="FAILED_PRECONDITION"):
        await officer.proof(stays.report_id, "KOR")
