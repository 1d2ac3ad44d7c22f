"""Orders at a running gateway: what officers put in force holds for the next decision; what they may not is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from click.testing import CliRunner
from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.cli import approvals
from gateway.cli.approvals import COMMANDS
from gateway.demo.deployment import OFFICERS, Deployed, approve
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from gateway.release.governance import WAITING_POLICIES
from gateway.release.rulebook import NO_POLICY
from policy import Bundle, Limits, digest_of, read_files
from policy.approve import (
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    Resume,
    Route,
    SignedOrder,
    Suspend,
    encode,
    read_orders,
    sign,
    write_orders,
)
from policy.approve.order import Action
from policy.decide import BuiltIn
from policy.vocabulary import Posture
from tests.node import nations
from tests.node.nations import World, as_officer, as_system, report, running, settle, until
from tests.patience import PATIENCE_S
from tests.policy.officers import SetProver


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return settle(tmp_path_factory.mktemp("officers"), "JPN", "KOR")


@pytest.fixture
def jpn(settled: dict[str, Deployed], tmp_path: Path) -> Deployed:
    """A copy of Japan's deployment, which a test may change."""
    place = settled["JPN"]
    copied = Deployed(place.node, tmp_path / "jpn", place.national, place.exchange)
    shutil.copytree(place.directory, copied.directory, ignore=shutil.ignore_patterns("store.db*"))
    return copied


@pytest_asyncio.fixture
async def world(jpn: Deployed) -> AsyncIterator[World]:
    async with running({"JPN": jpn}, linked=False) as made:
        yield made


def signed_by(place: Deployed, order: Order, *names: str) -> SignedOrder:
    signed = SignedOrder(encode(order))
    for name in names:
        key = read_officer_key(place.officer_key(name))
        signed = sign(signed, key.name, key.node, key.seed)
    return signed


async def following(place: Deployed, action: Action) -> Order:
    """The next order after what is in force."""
    status = await place.officer().policy_status()
    now = datetime.now(UTC)
    return Order(place.node, status.sequence + 1, status.last_order_digest, now, now + timedelta(hours=1), action)


async def bring(place: Deployed, action: Action, *names: str, files: dict[str, bytes] | None = None) -> set[str]:
    """Brings the next order; why it was refused."""
    signed = signed_by(place, await following(place, action), *names)
    answer = await place.officer().enact(signed.message(), files)
    return {refusal.reason for refusal in answer.refusals}


async def decided(world: World) -> ledger_pb2.Decision:
    """The decision on a report that is pushed now, for KOR."""
    pushed = report(node="JPN")
    assert (await world.push_one("JPN", pushed)).accepted
    return (await world.decisions("JPN", pushed.report_id))["KOR"]


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


# --- while a policy is being proved


class Slow(SetProver):
    """A prover who, once told to wait, takes until he is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        self.begun.set()
        assert self.go.wait(4 * PATIENCE_S)
        return super().unproved(bundle)


@pytest_asyncio.fixture
async def slow(jpn: Deployed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Slow, World]]:
    prover = Slow()
    monkeypatch.setattr(nations, "PROOFS", prover)
    async with running({"JPN": jpn}, linked=False) as made:
        prover.begun.clear()
        prover.go.clear()
        try:
            yield prover, made
        finally:
            prover.go.set()


def changed(place: Deployed) -> dict[str, bytes]:
    return read_files(place.policy) | {"cases/another.yaml": b""}


async def test_a_suspension_overtakes_a_policy_that_is_being_proved(slow: tuple[Slow, World], jpn: Deployed) -> None:
    prover, world = slow
    files = changed(jpn)
    activating = asyncio.create_task(bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files))
    await until(prover.begun.is_set, "the proof has begun")
    async with asyncio.timeout(PATIENCE_S):
        assert await bring(jpn, Suspend("KOR", "A leak"), "carol") == set()
    assert (await decided(world)).rule == BuiltIn.SUSPENDED
    prover.go.set()
    assert await activating == {"wrong_sequence"}
    assert (await decided(world)).rule == BuiltIn.SUSPENDED


async def test_a_posture_ends_while_a_policy_is_being_proved_and_does_not_come_back(
    slow: tuple[Slow, World], jpn: Deployed
) -> None:
    prover, world = slow
    over = datetime.now(UTC) + timedelta(seconds=1)
    assert await bring(jpn, DeclarePosture(Posture.IMMINENT, over), "alice", "bob") == set()
    files = changed(jpn)
    activating = asyncio.create_task(bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files))
    await until(prover.begun.is_set, "the proof has begun")
    await world.event("JPN", "posture-over")
    prover.go.set()
    assert await activating == set()
    status = await jpn.officer().policy_status()
    assert (status.posture, status.policy_digest) == ("ROUTINE", digest_of(files))
    assert not status.HasField("posture_until")


async def test_no_more_policies_wait_to_be_judged_than_a_few(slow: tuple[Slow, World], jpn: Deployed) -> None:
    prover, _ = slow
    files = changed(jpn)
    signed = signed_by(jpn, await following(jpn, Activate(digest_of(files))), "alice", "bob").message()
    officer = jpn.officer()
    brought = [asyncio.create_task(officer.enact(signed, files)) for _ in range(WAITING_POLICIES + 1)]
    done, waiting = await asyncio.wait(brought, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    with pytest.raises(ConnectionError, match="other policies are being judged"):
        done.pop().result()
    prover.go.set()
    answers = await asyncio.gather(*waiting)
    assert sorted(bool(answer.refusals) for answer in answers) == [False] + [True] * (WAITING_POLICIES - 1)


# --- the size of a policy


def padded(files: dict[str, bytes], size: int) -> dict[str, bytes]:
    """The files, and cases beside them that make `size` bytes together, names included."""
    made = dict(files)
    while (missing := size - sum(len(name) + len(content) for name, content in made.items())) > 0:
        name = f"cases/pad-{len(made):03}.yaml"
        made[name] = b"#" * min(missing - len(name), 200_000)
    return made


async def test_the_largest_policy_that_compiles_reaches_the_gateway(world: World, jpn: Deployed) -> None:
    files = padded(read_files(jpn.policy), Limits().bundle_bytes)
    assert await bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files) == set()


async def test_a_larger_policy_is_refused_before_it_is_signed_or_sent(jpn: Deployed) -> None:
    for name, content in padded(read_files(jpn.policy), Limits().bundle_bytes + 100).items():
        (jpn.policy / name).parent.mkdir(exist_ok=True)
        (jpn.policy / name).write_bytes(content)
    said = "The bundle has 3,145,828 bytes; the limit is 3,145,728."
    key, order = str(jpn.officer_key("alice")), str(jpn.order)
    for command in (
        ("sign", str(jpn.policy), "--key", key, "--first", str(jpn.roster)),
        ("activate", str(jpn.policy), order, *connecting(jpn)),
    ):
        code, output = await run(*command)
        assert (code, said in output) == (1, True), output


# --- commands


def invoke(command: str, *arguments: str) -> tuple[int, str]:
    found = next(each for each in COMMANDS if each.name == command)
    result = CliRunner().invoke(found, arguments)
    return result.exit_code, result.output


def connecting(place: Deployed) -> list[str]:
    return ["--credentials", str(place.directory / "officer"), "--gateway", place.national]


async def run(command: str, *arguments: str) -> tuple[int, str]:
    return await asyncio.to_thread(invoke, command, *arguments)


async def test_two_officers_sign_and_activate_a_policy_from_the_command_line(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    (jpn.policy / "partners" / "KOR.yaml").write_text("partner: KOR\nrules: []\n", "utf-8")
    order, keys = str(tmp_path / "next.order"), [str(jpn.officer_key(name)) for name in OFFICERS]
    policy = (str(jpn.policy), "--although-cases-fail")
    code, said = await run("sign", *policy, "--key", keys[0], "--out", order, *connecting(jpn))
    assert code == 0, said
    assert "Signed by alice." in said
    assert "1 of 2 signatures" in said
    code, said = await run("sign", str(jpn.policy), "--order", order, "--key", keys[0])
    assert (code, "alice has signed it already" in said) == (1, True)
    code, said = await run("sign", *policy, "--order", order, "--key", keys[1], *connecting(jpn))
    assert code == 0, said
    assert "Signed by alice.\nSigned by bob." in said
    assert "2 of 2 signatures" in said
    code, said = await run("show-order", order, "--roster", str(jpn.roster))
    assert code == 0
    assert f"puts the policy {digest_of(read_files(jpn.policy)).hex()} in force" in said
    code, said = await run("activate", str(jpn.policy), order, *connecting(jpn))
    assert code == 0, said
    code, said = await run("activate", str(jpn.policy), order, *connecting(jpn))
    assert code == 1
    assert "wrong_sequence" in said


async def test_the_second_officer_does_not_sign_another_policy_than_he_sees(
    jpn: Deployed, settled: dict[str, Deployed], tmp_path: Path
) -> None:
    (jpn.policy / "partners" / "KOR.yaml").write_text("partner: KOR\nrules: []\n", "utf-8")
    code, said = await run("sign", str(jpn.policy), "--order", str(jpn.order), "--key", str(jpn.officer_key("carol")))
    assert code == 1
    assert "does not activate" in said


async def test_a_partner_is_suspended_in_one_step_and_the_status_tells_it(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    key = str(jpn.officer_key("carol"))
    code, said = await run("suspend", "KOR", "--reason", "A leak", "--key", key, *connecting(jpn))
    assert code == 0, said
    code, said = await run("status", "--json", *connecting(jpn))
    assert code == 0
    assert json.loads(said)["suspended"][0]["partner"] == "KOR"
    saved = tmp_path / "status.json"
    saved.write_text(said, "utf-8")
    order = str(tmp_path / "resume.order")
    code, said = await run("sign", "--resume", "KOR", "--after", str(saved), "--key", key, "--out", order)
    assert code == 0, said
    code, said = await run("enact", order, *connecting(jpn))
    assert code == 1
    assert "too_few_signatures" in said
    code, said = await run("sign", "--order", order, "--key", str(jpn.officer_key("alice")))
    assert code == 0, said
    code, said = await run("enact", order, *connecting(jpn))
    assert code == 0, said
    code, said = await run("status", *connecting(jpn))
    assert "policy" in said
    assert "A leak" not in said


async def test_routes_and_carrying_are_in_force_once_two_have_signed_and_survive_a_restart(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", "USA")
    place = places["JPN"]
    async with running({"JPN": place}, linked=False) as world:
        assert await bring(place, Route("KOR", ("USA",)), "alice") == {"too_few_signatures"}
        assert await bring(place, Route("KOR", ("USA",)), "alice", "bob") == set()
        assert await bring(place, CarryFor("KOR", "USA"), "alice", "carol") == set()
        assert (await world.event("JPN", "route-changed")).detail.startswith("order 2 ")
        await world.stop("JPN")
        node = await world.start("JPN")
        assert node.parts.sequencer.rulebook.routes == {"KOR": ("USA",)}
        code, said = await run("status", "--json", *connecting(place))
        assert code == 0
        assert json.loads(said)["routes"] == [{"partner": "KOR", "carriers": ["USA"]}]
        assert json.loads(said)["carries"] == [{"one": "KOR", "other": "USA"}]
        assert await bring(place, Suspend("USA", "A leak"), "bob") == set()
        assert not node.parts.sequencer.rulebook.routes
        assert not node.parts.sequencer.rulebook.carries


async def test_what_is_ordered_of_routes_from_the_command_line_is_judged_by_the_gateway(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    keys = [str(jpn.officer_key(name)) for name in OFFICERS]
    for number, (arguments, told) in enumerate(
        [
            (("--route", "KOR", "--through", "USA"), "USA is no partner here"),
            (("--carry-for", "USA", "KOR"), "USA is no partner here"),
        ]
    ):
        order = str(tmp_path / f"{number}.order")
        code, said = await run("sign", *arguments, "--key", keys[0], "--out", order, *connecting(jpn))
        assert code == 0, said
        code, said = await run("sign", "--order", order, "--key", keys[1])
        assert code == 0, said
        code, said = await run("enact", order, *connecting(jpn))
        # Japan has one partner alone here: what names another is judged, and refused.
        assert (code, told in said) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--route", "KOR"],
        ["--route", "KOR", "--through", "USA", "--ended"],
        ["--route", "KOR", "--through", "usa"],
        ["--through", "USA"],
        ["--ended"],
        ["--carry-for", "KOR"],
        ["--carry-for", "KOR", "USA", "--route", "KOR", "--ended"],
        ["--suspend", "KOR"],
        ["--reason", "Why"],
        ["--suspend", "KOR", "--reason", "Why", "--resume", "KOR"],
        ["--resume", "KOR", "--until", "2026-01-01T00:00:00Z"],
        ["--posture", "IMMINENT", "--until", "tomorrow"],
        ["--posture", "IMMINENT", "--until", "2026-01-01T00:00:00"],
        ["--resume", "KOR"],
    ],
    ids=" ".join,
)
def test_an_order_that_is_not_one_thing_in_one_place_is_wrong_usage(jpn: Deployed, arguments: list[str]) -> None:
    code, _ = invoke("sign", *arguments, "--key", str(jpn.officer_key("alice")))
    assert code == 2


def test_the_status_shows_who_carries_and_marks_who_is_suspended(capsys: pytest.CaptureFixture[str]) -> None:
    approvals._show(
        officer_pb2.GetPolicyStatusResponse(
            node="JPN",
            routes=[officer_pb2.Route(partner="KOR", carriers=["USA", "FRA"])],
            carries=[officer_pb2.CarryFor(one="KOR", other="USA")],
            suspended=[officer_pb2.Suspension(partner="USA", reason="A leak", sequence=4)],
        )
    )
    shown = capsys.readouterr().out
    assert "USA (suspended), FRA" in shown
    assert "we carry between" in shown
