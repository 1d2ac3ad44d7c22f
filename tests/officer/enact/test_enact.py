"""Orders at a running gateway: what officers put in force holds for the next decision; what they may not is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.demo.deployment import OFFICERS, Deployed, approve
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from gateway.release.rulebook import NO_POLICY
from policy import digest_of, read_files
from policy.approve import (
    Activate,
    DeclarePosture,
    Resume,
    SignedOrder,
    Suspend,
    encode,
    read_orders,
    sign,
    write_orders,
)
from policy.decision import BuiltIn
from policy.vocabulary import Posture
from tests.node.connecting import as_officer, as_system
from tests.node.nations import World, running
from tests.officer.enact.bringing import bring, decided, following, signed_by


async def test_a_first_start_puts_the_signed_policy_in_force(world: World, jpn: Deployed) -> None:
    status = await jpn.officer().policy_status()
    assert status.sequence == 1
    assert status.policy_digest == digest_of(read_files(jpn.policy))
    assert status.posture == "ROUTINE"
    assert [officer.name for officer in status.roster.officers] == [*OFFICERS]
    assert not status.problems
    assert (await decided(world)).outcome == ledger_pb2.OUTCOME_RELEASED
    assert world.metric("JPN", "signalfire_policy_sequence") == 1


async def test_one_officer_suspends_a_partner_from_the_next_decision_on_and_two_resume(
    world: World, jpn: Deployed
) -> None:
    assert await bring(jpn, Suspend("KOR", "A leak"), "carol") == set()
    decision = await decided(world)
    assert (decision.outcome, decision.rule) == (ledger_pb2.OUTCOME_WITHHELD, BuiltIn.SUSPENDED)
    assert world.metric("JPN", "signalfire_suspended_partners") == 1
    (partner,) = world.nodes["JPN"].status().partners
    assert partner.problem.startswith("suspended by our officers")
    assert (await jpn.officer().policy_status()).suspended[0].reason == "A leak"
    assert await bring(jpn, Resume("KOR"), "carol") == {"too_few_signatures"}
    assert (await decided(world)).rule == BuiltIn.SUSPENDED
    assert await bring(jpn, Resume("KOR"), "carol", "alice") == set()
    assert (await decided(world)).outcome == ledger_pb2.OUTCOME_RELEASED


async def test_officers_who_watch_see_orders_and_refusals(world: World, jpn: Deployed) -> None:
    await bring(jpn, Suspend("KOR", "A leak"), "carol")
    await bring(jpn, Resume("KOR"), "alice")
    suspended = await world.event("JPN", "partner-suspended")
    assert "spiffe://jpn/officer/officer" in suspended.detail
    assert officer_pb2.SignedOrder.FromString(suspended.evidence[0]).signatures[0].officer == "carol"
    refused = await world.event("JPN", "order-refused")
    assert "too_few_signatures" in refused.detail
    assert world.metric("JPN", "signalfire_refused_orders_total", reason="too_few_signatures") == 1
    (told,) = (await jpn.officer().policy_status()).refused
    assert told.brought_by == "spiffe://jpn/officer/officer"


async def test_a_policy_that_is_refused_leaves_the_last_good_one_in_force(world: World, jpn: Deployed) -> None:
    before = await jpn.officer().policy_status()
    broken = {"policy.yaml": b"node: JPN\nposture: SLEEPY\n"}
    reasons = await bring(jpn, Activate(digest_of(broken)), "alice", "bob", files=broken)
    assert reasons == {"does_not_compile"}
    after = await jpn.officer().policy_status()
    assert (after.sequence, after.policy_digest) == (before.sequence, before.policy_digest)
    assert (await decided(world)).outcome == ledger_pb2.OUTCOME_RELEASED


async def test_a_policy_that_releases_nothing_is_activated_by_one_officer_without_a_restart(
    world: World, jpn: Deployed
) -> None:
    files = read_files(jpn.policy) | {"partners/KOR.yaml": b"partner: KOR\nrules: []\n"}
    assert await bring(jpn, Activate(digest_of(files)), "bob", files=files) == set()
    decision = await decided(world)
    assert (decision.outcome, decision.rule) == (ledger_pb2.OUTCOME_WITHHELD, BuiltIn.NO_RULE)
    back = read_files(jpn.policy)
    assert await bring(jpn, Activate(digest_of(back)), "bob", files=back) == {"too_few_signatures"}
    assert await bring(jpn, Activate(digest_of(back)), "bob", "alice", files=back) == set()


async def test_a_certificate_of_the_officers_authority_gives_no_authority(world: World, jpn: Deployed) -> None:
    intruder = create_officer_key(jpn.directory / "intruder", "JPN", "officer")
    order = await following(jpn, Suspend("KOR", "Because"))
    signed = sign(SignedOrder(encode(order)), intruder.name, "JPN", intruder.seed)
    answer = await jpn.officer().enact(signed.message())
    assert {refusal.reason for refusal in answer.refusals} == {"not_in_roster", "too_few_signatures"}


async def test_c2_systems_are_not_admitted(world: World, jpn: Deployed) -> None:
    async with as_system(jpn, "sensors") as opened:
        for method, request in (
            ("GetPolicyStatus", officer_pb2.GetPolicyStatusRequest()),
            ("Enact", officer_pb2.EnactRequest()),
        ):
            call: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = opened.unary_unary(
                f"/signalfire.v1.OfficerService/{method}", request_serializer=type(request).SerializeToString
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_empty_request_is_answered_and_not_obeyed(world: World, jpn: Deployed) -> None:
    async with as_officer(jpn) as opened:
        call = opened.unary_unary(
            "/signalfire.v1.OfficerService/Enact",
            request_serializer=officer_pb2.EnactRequest.SerializeToString,
            response_deserializer=officer_pb2.EnactResponse.FromString,
        )
        answer = await call(officer_pb2.EnactRequest())
    assert {refusal.reason for refusal in answer.refusals} == {"malformed"}
    assert answer.sequence == 1


async def test_of_two_orders_for_one_place_one_is_put_in_force(world: World, jpn: Deployed) -> None:
    first = signed_by(jpn, await following(jpn, Suspend("KOR", "One")), "alice")
    second = signed_by(jpn, await following(jpn, Suspend("KOR", "Two")), "bob")
    officer = jpn.officer()
    answers = await asyncio.gather(officer.enact(first.message()), officer.enact(second.message()))
    assert sorted(bool(answer.refusals) for answer in answers) == [False, True]
    assert (await officer.policy_status()).sequence == 2


async def test_what_is_in_force_survives_a_restart_and_a_policy_directory_that_was_changed(
    world: World, jpn: Deployed
) -> None:
    await bring(jpn, Suspend("KOR", "A leak"), "carol")
    before = await jpn.officer().policy_status()
    await world.stop("JPN")
    (jpn.policy / "partners" / "KOR.yaml").write_text("partner: KOR\nrules: none\n", "utf-8")
    await world.start("JPN")
    after = await jpn.officer().policy_status()
    assert (after.sequence, after.policy_digest) == (2, before.policy_digest)
    assert [each.partner for each in after.suspended] == ["KOR"]
    assert any("is not the policy in force" in problem for problem in after.problems)
    assert (await decided(world)).rule == BuiltIn.SUSPENDED


async def test_a_roster_file_that_was_exchanged_after_the_first_start_is_passed_over(
    world: World, jpn: Deployed
) -> None:
    await world.stop("JPN")
    keys = [create_officer_key(jpn.directory / "others", "JPN", name) for name in OFFICERS]
    text = jpn.roster.read_text("utf-8")
    for name, key in zip(OFFICERS, keys, strict=True):
        old = read_officer_key(jpn.officer_key(name)).vkey
        text = text.replace(old, key.vkey)
    jpn.roster.write_text(text, "utf-8")
    await world.start("JPN")
    assert any("another roster" in problem for problem in (await jpn.officer().policy_status()).problems)
    order = await following(jpn, Resume("KOR"))
    signed = SignedOrder(encode(order))
    for key in keys:
        signed = sign(signed, key.name, key.node, key.seed)
    answer = await jpn.officer().enact(signed.message())
    assert "not_in_roster" in {refusal.reason for refusal in answer.refusals}


async def test_the_next_order_in_the_configured_file_is_put_in_force_at_the_start(world: World, jpn: Deployed) -> None:
    order = await following(jpn, Suspend("KOR", "By file"))
    await world.stop("JPN")
    first = read_orders("first", jpn.order.read_bytes())
    jpn.order.write_bytes(write_orders([*first, signed_by(jpn, order, "alice")]))
    await world.start("JPN")
    status = await jpn.officer().policy_status()
    assert (status.sequence, [each.partner for each in status.suspended]) == (2, ["KOR"])
    assert not status.problems


async def test_a_node_whose_first_order_is_not_signed_enough_runs_and_withholds_everything(jpn: Deployed) -> None:
    (first,) = read_orders("first", jpn.order.read_bytes())
    jpn.order.write_bytes(write_orders([SignedOrder(first.order, first.signatures[:1])]))
    async with running({"JPN": jpn}, linked=False) as world:
        status = await jpn.officer().policy_status()
        assert (status.sequence, status.policy_digest) == (0, b"")
        assert any("an order is refused" in problem for problem in status.problems)
        assert (await decided(world)).rule == NO_POLICY
        files = read_files(jpn.policy)
        assert await bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files) == set()
        assert (await decided(world)).outcome == ledger_pb2.OUTCOME_RELEASED


async def test_an_altered_policy_directory_is_not_put_in_force_at_a_first_start(jpn: Deployed) -> None:
    with (jpn.policy / "policy.yaml").open("a", encoding="utf-8") as file:
        file.write("# one more word\n")
    async with running({"JPN": jpn}, linked=False) as world:
        assert (await decided(world)).rule == NO_POLICY


async def test_a_first_order_that_is_stale_is_not_put_in_force(jpn: Deployed) -> None:
    approve(jpn, now=datetime.now(UTC) - timedelta(days=31))
    async with running({"JPN": jpn}, linked=False) as world:
        assert (await decided(world)).rule == NO_POLICY


async def test_a_declared_posture_ends_by_itself_and_on_record(world: World, jpn: Deployed) -> None:
    until = datetime.now(UTC) + timedelta(seconds=1.5)
    assert await bring(jpn, DeclarePosture(Posture.IMMINENT, until), "alice", "bob") == set()
    assert (await jpn.officer().policy_status()).posture == "IMMINENT"
    over = await world.event("JPN", "posture-over")
    assert over.time.ToDatetime(UTC) >= until
    assert world.nodes["JPN"].status().posture == "ROUTINE"


async def test_very_many_signatures_are_one_refusal_that_is_told(world: World, jpn: Deployed) -> None:
    message = SignedOrder(encode(await following(jpn, Suspend("KOR", "Because")))).message()
    message.signatures.extend([officer_pb2.OrderSignature()] * 300_000)
    answer = await jpn.officer().enact(message)
    assert {refusal.reason for refusal in answer.refusals} == {"too_many_signatures", "too_few_signatures"}
    status = await jpn.officer().policy_status()
    assert len(status.refused[0].refusals) == 2
    assert status.ByteSize() < 10_000
