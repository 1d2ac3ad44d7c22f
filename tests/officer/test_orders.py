"""Orders on record: what is read back is what was put in force, and nothing that was changed on disk is believed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Origin
from gateway.release.errors import StepRefused
from gateway.release.governance import Governance
from gateway.release.orders import EnactOrder, EndPosture, OrdersError, PinRoster, read_in_force, rulebook_of
from gateway.release.rulebook import NO_POLICY, Rulebook
from policy import digest_of
from policy.approve import Activate, CarryFor, DeclarePosture, Resume, Route, SignedOrder, State, Suspend
from policy.approve.order import Action
from policy.vocabulary import Posture
from tests.policy.officers import LIMITS, NOW, SetProver, files, judged, order, roster, signed_by
from tests.release.world import MakeSite, Site
from tests.reports.examples import launch_detection

DECISIONS = Origin.decisions("JPN", 1)
CONTENT = files()


def put(site: Site, state: State, action: Action, *names: str, bundle: dict[str, bytes] | None = None) -> State:
    """Puts an order in force at a site."""
    signed = signed_by(order(state, action), *names)
    judgement = judged(state, signed, bundle)
    site.do(EnactOrder(judgement, signed, bundle or {}, "spiffe://jpn/officer/officer"))
    return judgement.state


def governed(site: Site) -> State:
    """A site with a roster, a policy, and KOR suspended."""
    site.rulebook = Rulebook.none(("KOR", "USA"))
    site.do(PinRoster(roster()))
    state = put(site, State.genesis(roster()), Activate(digest_of(CONTENT)), "alice", "bob", bundle=CONTENT)
    return put(site, state, Suspend("KOR", "Leak"), "carol")


def read(site: Site) -> State:
    found = read_in_force(site.store, site.signatory)
    assert found is not None
    assert not found.unreadable
    return found.state


def comparable(state: State) -> tuple[object, ...]:
    return (state.sequence, state.last, state.activated, dict(state.suspensions), state.declared, state.roster)


def events(site: Site) -> list[ledger_pb2.NodeEvent]:
    contents = site.contents(DECISIONS).values()
    return [content.node_event for content in contents if content.HasField("node_event")]


def test_what_was_put_in_force_is_read_again_after_a_restart(jpn: Site) -> None:
    state = governed(jpn)
    jpn.restart()
    assert comparable(read(jpn)) == comparable(state)
    assert read(jpn).bundle is not None


def test_decisions_are_made_by_the_routes_that_were_ordered_until_one_of_their_nodes_is_suspended(jpn: Site) -> None:
    state = put(jpn, governed(jpn), Resume("KOR"), "alice", "bob")
    assert not jpn.rulebook.routes
    state = put(jpn, state, Route("KOR", ("USA",)), "alice", "bob")
    state = put(jpn, state, CarryFor("KOR", "USA"), "alice", "bob")
    assert jpn.rulebook.routes == {"KOR": ("USA",)}
    assert jpn.rulebook.carries == {("KOR", "USA")}
    assert [event.kind for event in events(jpn)][-2:] == ["route-changed", "carrying-changed"]
    jpn.restart()
    assert rulebook_of(read(jpn), ("KOR", "USA")).routes == {"KOR": ("USA",)}
    for partner in ("USA", "KOR"):
        state = put(jpn, state, Suspend(partner, "A leak"), "carol")
        assert not jpn.rulebook.routes
        assert not jpn.rulebook.carries
        state = put(jpn, state, Resume(partner), "alice", "bob")
        assert jpn.rulebook.routes
        assert jpn.rulebook.carries
    assert not rulebook_of(state, ("KOR",)).routes


def test_before_a_roster_is_pinned_nothing_is_in_force(jpn: Site) -> None:
    assert read_in_force(jpn.store, jpn.signatory) is None
    jpn.rulebook = rulebook_of(None, ("KOR",))
    jpn.take(launch_detection(1))
    (decision,) = jpn.decisions()[0].decisions
    assert (decision.outcome, decision.rule) == (ledger_pb2.OUTCOME_WITHHELD, NO_POLICY)


def test_an_order_takes_effect_for_the_next_step_of_the_same_commit(jpn: Site) -> None:
    jpn.rulebook = Rulebook.none(("KOR",))
    start = State.genesis(roster())
    signed = signed_by(order(start, Activate(digest_of(CONTENT))), "alice", "bob")
    plan = jpn.plan()
    EnactOrder(judged(start, signed, CONTENT), signed, CONTENT, "test").apply(plan)
    assert plan.rulebook.digest == digest_of(CONTENT)
    assert jpn.rulebook.digest == b""
    jpn.keep(plan)
    assert jpn.rulebook.digest == digest_of(CONTENT)


def test_an_order_and_its_signatures_stand_in_the_decisions_ledger(jpn: Site) -> None:
    governed(jpn)
    found = {event.kind: event for event in events(jpn)}
    assert set(found) == {"roster-pinned", "policy-activated", "partner-suspended"}
    kept = SignedOrder.of(officer_pb2.SignedOrder.FromString(found["partner-suspended"].evidence[0]))
    assert [signature.officer for signature in kept.signatures] == ["carol"]
    assert "suspends KOR" in found["partner-suspended"].detail
    assert "signed by alice, bob" in found["policy-activated"].detail


def test_one_order_is_put_on_record_once(jpn: Site) -> None:
    state = governed(jpn)
    signed = signed_by(order(state, Resume("KOR")), "alice", "bob")
    step = EnactOrder(judged(state, signed), signed, {}, "test")
    jpn.do(step)
    with pytest.raises(StepRefused):
        jpn.do(step)
    other = signed_by(order(state, Suspend("USA", "Leak")), "alice")
    with pytest.raises(StepRefused):
        jpn.do(EnactOrder(judged(state, other), other, {}, "test"))


def test_a_second_roster_is_never_pinned(jpn: Site) -> None:
    governed(jpn)
    with pytest.raises(StepRefused):
        jpn.do(PinRoster(roster("mallory", "oscar")))


def test_a_posture_that_is_over_does_not_come_back_with_a_clock_that_jumps_back(jpn: Site) -> None:
    state = governed(jpn)
    until = NOW + timedelta(hours=1)
    state = put(jpn, state, DeclarePosture(Posture.IMMINENT, until), "alice", "bob")
    assert jpn.rulebook.posture == Posture.IMMINENT
    jpn.do(EndPosture(state))
    assert jpn.rulebook.posture == Posture.ROUTINE
    jpn.restart()
    again = read(jpn)
    assert again.declared is None
    assert again.posture_at(until - timedelta(minutes=30)) is Posture.ROUTINE


def test_a_bundle_that_this_software_cannot_read_withholds_everything_and_says_so(jpn: Site) -> None:
    start = State.genesis(roster())
    jpn.do(PinRoster(roster()))
    broken = {"policy.yaml": b"node: JPN\n"}
    signed = signed_by(order(start, Activate(digest_of(broken))), "alice", "bob")
    judgement = judged(start, signed_by(order(start, Activate(digest_of(CONTENT))), "alice", "bob"), CONTENT)
    after = replace(judgement.state, last=signed.digest, activated=digest_of(broken))
    jpn.do(
        EnactOrder(replace(judgement, order=order(start, Activate(digest_of(broken))), state=after), signed, broken, "")
    )
    found = read_in_force(jpn.store, jpn.signatory)
    assert found is not None
    assert "refuses the policy in force" in found.unreadable
    assert rulebook_of(found.state, ("KOR",)).policy is None


# --- on disk


@pytest.fixture
def kept(make_site: MakeSite) -> Site:
    site = make_site()
    governed(site)
    return site


def tamper(path: Path, *statements: str) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as db:
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM officer_order WHERE sequence = 2"],
        ["DELETE FROM officer_order WHERE sequence = 1"],
        ["DELETE FROM officer_order"],
        ["DELETE FROM officer_order", "DELETE FROM meta WHERE key = 'last order'"],
        ["DELETE FROM officer_order", "DELETE FROM meta WHERE key IN ('last order', 'roster')"],
        ["DELETE FROM meta WHERE key = 'roster'"],
        ["DELETE FROM meta WHERE key = 'last order'"],
        ["UPDATE meta SET value = zeroblob(60) WHERE key = 'roster'"],
        ["UPDATE officer_order SET payload = zeroblob(100) WHERE sequence = 2"],
        [
            "UPDATE officer_order SET payload = (SELECT payload FROM officer_order WHERE sequence = 1)"
            " WHERE sequence = 2"
        ],
        ["UPDATE officer_order SET digest = zeroblob(32) WHERE sequence = 2"],
        ["UPDATE officer_order SET enacted_ns = 1 WHERE sequence = 2"],
        ["DELETE FROM officer_order WHERE sequence = 1", "UPDATE officer_order SET sequence = 1"],
    ],
    ids=str,
)
def test_orders_that_were_changed_on_disk_are_not_believed(kept: Site, statements: list[str]) -> None:
    tamper(kept.path, *statements)
    kept.restart()
    with pytest.raises(OrdersError):
        read_in_force(kept.store, kept.signatory)
    found = verify_store(kept.store, kept.signatory, kept.partners)
    assert any(finding.where == "orders" for finding in found.findings)


def governance(site: Site) -> Governance:
    return Governance(
        partners=("USA", "KOR"),
        signatory=site.signatory,
        reader=lambda: site.store,
        prover=SetProver(),
        limits=LIMITS,
        now=lambda: NOW,
        clock_trusted=lambda: True,
    )


async def test_a_start_without_a_policy_names_the_commands_that_put_one_in_force(
    kept: Site, caplog: pytest.LogCaptureFixture
) -> None:
    found = governance(kept)
    found.restore(kept.store)
    await found.take_up_files(None, None, None)
    assert "no policy is in force" not in caplog.text, "orders that are not believed are told otherwise"
    found.state = State.genesis(roster())
    await found.take_up_files(None, None, None)
    assert "no policy is in force, so everything is withheld" in caplog.text
    assert "signalfire policy sign DIRECTORY --order again.order" in caplog.text
    assert "signalfire policy activate DIRECTORY again.order" in caplog.text


def test_where_orders_are_not_believed_every_partner_counts_as_suspended(kept: Site) -> None:
    found = governance(kept)
    assert found.restore(kept.store).suspended == {"KOR"}
    assert found.suspended == {"KOR"}
    tamper(kept.path, "DELETE FROM officer_order WHERE sequence = 2")
    kept.restart()
    assert found.restore(kept.store).suspended == {"KOR", "USA"}
    assert found.suspended == {"KOR", "USA"}
    assert found.state is None


def test_before_a_roster_is_pinned_nobody_is_suspended(jpn: Site) -> None:
    assert governance(jpn).restore(jpn.store).suspended == frozenset()


def test_orders_of_another_nodes_key_are_not_believed(kept: Site, make_site: MakeSite) -> None:
    with pytest.raises(OrdersError):
        read_in_force(kept.store, make_site("KOR").signatory)


def test_sound_orders_are_found_sound(kept: Site) -> None:
    assert not verify_store(kept.store, kept.signatory, kept.partners).findings
