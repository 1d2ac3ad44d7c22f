"""Alarms rise when something is wrong, are told once, and fall when it is right again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.alarms import KEPT_SIZES, PUT_OFF_S, Alarm, AlarmLimits, Alarms, ClockState, Unreceipted
from gateway.attention import LATE_KEPT, LATE_TOLD_S, QUIET_S, UNOPENED_KEPT, Alert, Late
from gateway.exchange.partners import DIRECT, Link
from gateway.expiry import Expiry
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.evidence import contradiction
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import Takes
from gateway.ledger.stores import CosignatureKind
from gateway.release.evidence import KeepEvidence, owner_keys
from gateway.release.planned.put_off import PUT_OFF
from gateway.release.steps import FollowSuccessor, KeepCosignature
from gateway.release.witness import Beat
from gateway.telemetry import Telemetry
from tests.audit.nations import anchored, nation, rotated
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, all_clear, launch_detection

TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
LIMITS = AlarmLimits(receipt_overdue_s=10, partner_silent_s=5)


class Scene:
    """JPN and its one partner KOR, and a clock that a test moves."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.seconds = 1000.0
        self.link = Link(heard_at=1000.0, answered_at=1000.0)
        self.clock = ClockState()
        self.policy = b"a policy"
        self.expiring: list[Expiry] = []
        self.telemetry = Telemetry()
        self.alarms = Alarms(
            "JPN",
            LIMITS,
            {"KOR": self.link},
            lambda: self.site.heads,
            lambda *line: self.site.heads.current(*line),
            lambda: self.site.store,
            self.telemetry,
            lambda: self.seconds,
            lambda: self.site.partners,
            lambda: self.clock,
            lambda: self.policy,
            lambda: datetime.fromtimestamp(self.seconds, UTC),
            lambda: self.expiring,
        )

    def look(self, after: float = 0.0, *, heard: bool = True, answered: bool = True) -> tuple[list[str], list[str]]:
        """What rises and falls at a look so much later, in words."""
        risen, fallen = self.look_for_alarms(after, heard=heard, answered=answered)
        return [alarm.text for alarm in risen], [alarm.text for alarm in fallen]

    def look_for_alarms(
        self, after: float = 0.0, *, heard: bool = True, answered: bool = True
    ) -> tuple[list[Alarm], list[Alarm]]:
        """What rises and falls at a look so much later."""
        self.seconds += after
        if heard:
            self.link.heard_at = self.seconds
        if answered:
            self.link.answered_at = self.seconds
        return self.alarms.look()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(name, {"partner": "KOR", **labels})

    def receipt(self, origin: Origin, size: int) -> None:
        raw = self.site.store.checkpoint(self.site.row(origin).id, size)
        assert raw is not None
        text = Note.parse(raw).text
        note = Note(text, (cosign(text, signatory_of("KOR").receipt, NOW // SECOND),)).encode()
        self.site.do(KeepCosignature(origin, CosignatureKind.RECEIPT, note, partner_of("KOR")))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    site = Site("JPN", tmp_path / "jpn.sqlite")
    yield Scene(site)
    site.close()


def test_nothing_is_wrong_where_nothing_is(scene: Scene) -> None:
    assert scene.look() == ([], [])
    assert scene.look(1000) == ([], [])
    assert scene.alarms.standing == []


def test_that_no_policy_is_in_force_is_a_critical_alarm_until_one_is(scene: Scene) -> None:
    scene.policy = b""
    (alarm,), _ = scene.alarms.look()
    assert alarm.critical
    assert alarm.text.startswith("no policy is in force: every report is withheld")
    assert scene.telemetry.registry.get_sample_value("signalfire_policy_in_force") == 0
    scene.policy = b"a policy"
    risen, fallen = scene.look()
    assert (risen, len(fallen)) == ([], 1)
    assert scene.telemetry.registry.get_sample_value("signalfire_policy_in_force") == 1


def test_what_does_not_open_is_a_critical_alarm_that_names_the_last_and_counts_the_others(scene: Scene) -> None:
    attention = scene.telemetry.attention
    assert attention.did_not_open(7, "report a of JPN")
    assert not attention.did_not_open(7, "report a of JPN")
    (alarm,), _ = scene.alarms.look()
    assert alarm.critical
    assert alarm.text == "the store holds what does not open, and subscribers are not given it: report a of JPN"
    attention.did_not_open(9, "report b of JPN")
    assert scene.look() == ([], [])
    (standing,) = scene.alarms.standing
    assert "report b of JPN, and 1 more (alarm since" in standing
    assert scene.telemetry.registry.get_sample_value("signalfire_unopened_items") == 2

    for item in range(2 * UNOPENED_KEPT):
        attention.did_not_open(item, "a report")
    assert len(attention.unopened) == UNOPENED_KEPT


def test_what_stands_is_told_with_the_time_since_when_it_does(scene: Scene) -> None:
    scene.look()
    scene.look(6, heard=False)
    scene.look(60, heard=False)
    assert scene.alarms.standing == ["KOR is silent: no heartbeat for 66 s (alarm since 1970-01-01T00:16:46Z)"]
    scene.look(1)
    scene.look(6, heard=False)
    assert scene.alarms.standing[0].endswith("(alarm since 1970-01-01T00:17:53Z)"), "it has risen anew"


# --- receipts


def test_a_receipt_that_does_not_come_is_an_alarm_until_it_comes(scene: Scene) -> None:
    scene.site.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    assert scene.look() == ([], [])
    assert scene.look(9) == ([], [])
    assert scene.metric("signalfire_receipt_overdue_seconds", lane="flash") == 9
    (text,), _ = scene.look(2)
    assert text == "KOR has given no receipt in lane flash for an entry that is 11 s old"
    assert scene.look(1) == ([], []), "told once"
    assert len(scene.alarms.standing) == 1
    scene.receipt(TO_KOR, 2)
    risen, fallen = scene.look(1)
    assert (risen, len(fallen)) == ([], 1)
    assert scene.metric("signalfire_receipt_overdue_seconds", lane="flash") == 0


def test_the_age_is_that_of_the_oldest_entry_without_receipt(scene: Scene) -> None:
    for number in range(4):
        scene.site.take(launch_detection(number), rules(KOR=RELEASE_ALL))
        scene.look(3)
    scene.receipt(TO_KOR, 3)
    scene.look()
    assert scene.metric("signalfire_receipt_overdue_seconds", lane="flash") == 3
    scene.receipt(TO_KOR, 5)
    scene.look()
    assert scene.metric("signalfire_receipt_overdue_seconds", lane="flash") == 0


def test_a_witness_ledger_that_one_partner_does_not_sign_is_overdue_for_that_partner(scene: Scene) -> None:
    scene.site.do(Beat(frozenset({"KOR"})))
    scene.look()
    (text,), _ = scene.look(11)
    assert "lane witness" in text


def test_a_lane_in_which_this_node_holds_everything_back_is_not_overdue(scene: Scene) -> None:
    scene.site.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    scene.link.paused["flash"] = "no policy"
    for _ in range(3):
        assert scene.look(20) == ([], [])
    scene.link.paused.clear()
    assert scene.look(9) == ([], [])
    assert len(scene.look(11)[0]) == 1


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 5)), max_size=60))
def test_the_age_is_exact_while_few_sizes_are_waiting(steps: list[tuple[int, int, float]]) -> None:
    unreceipted = Unreceipted()
    size = receipt = 0
    now = 0.0
    first_seen: dict[int, float] = {}
    for grown, received, passed in steps:
        now += passed
        size, receipt = size + grown, min(size + grown, receipt + received)
        for index in range(size):
            first_seen.setdefault(index, now)
        expected = now - first_seen[receipt] if receipt < size else 0.0
        assert unreceipted.age_s(size, receipt, now) == pytest.approx(expected)


def test_a_partner_that_never_answers_does_not_fill_the_memory() -> None:
    unreceipted = Unreceipted()
    ages = [unreceipted.age_s(size, 0, float(size)) for size in range(1, 5000)]
    assert ages[-1] == 4998, "the oldest is known for ever"
    assert len(unreceipted._seen) <= KEPT_SIZES
    assert unreceipted.age_s(4999, 4998, 5000.0) < 5000


@pytest.mark.parametrize("lag", [20, 100, 600])
def test_an_age_is_never_understated_however_many_sizes_wait_and_little_overstated(lag: int) -> None:
    unreceipted, told = Unreceipted(), []
    for now in range(4 * lag):
        age_s = unreceipted.age_s(now + 1, max(0, now + 1 - lag), float(now))
        told.append(age_s - min(now, lag - 1))
    assert min(told) == 0
    assert max(told) <= 2 + 4 * lag / KEPT_SIZES


# --- silence


def test_a_partner_that_was_never_heard_is_silent_since_the_start(scene: Scene) -> None:
    scene.link.heard_at = None
    assert scene.look(4, heard=False) == ([], [])
    assert scene.look(2, heard=False)[0] == ["KOR is silent: no heartbeat since the start"]


def test_silence_rises_once_and_falls_with_the_first_heartbeat(scene: Scene) -> None:
    assert scene.look(6, heard=False)[0] == ["KOR is silent: no heartbeat for 6 s"]
    assert scene.metric("signalfire_partner_silent_seconds") == 6
    assert scene.look(60, heard=False) == ([], [])
    assert scene.alarms.standing[0].startswith("KOR is silent: no heartbeat for 66 s (alarm since ")
    assert len(scene.look(1)[1]) == 1


def test_a_partner_that_does_not_hear_us_is_an_alarm_of_its_own_though_we_hear_it(scene: Scene) -> None:
    assert scene.look(5, answered=False) == ([], [])
    assert scene.look(1, answered=False)[0] == ["KOR does not hear us: it has answered no heartbeat for 6 s"]
    assert scene.metric("signalfire_partner_unheard_seconds") == 6
    assert len(scene.look(1)[1]) == 1
    scene.link.answered_at = None
    (text,), _ = scene.look(1, answered=False)
    assert text == "KOR does not hear us: it has answered no heartbeat since the start"


@pytest.mark.parametrize(
    ("takes", "told"),
    [
        (Takes.PRIORITY, "KOR takes reports of PRIORITY and above alone from its C2 systems"),
        (Takes.FLASH, "KOR takes FLASH reports alone from its C2 systems"),
        (Takes.NOTHING, "KOR takes no reports from its C2 systems"),
    ],
)
def test_a_partner_that_says_that_it_refuses_reports_is_an_alarm_until_it_takes_them_or_is_heard_no_more(
    scene: Scene, takes: Takes, told: str
) -> None:
    scene.link.takes = Takes.ROUTINE
    assert scene.look() == ([], [])
    scene.link.takes = takes
    assert scene.look()[0] == [f"{told}, so its silence is no calm"]
    scene.link.ended(DIRECT)
    assert len(scene.look()[1]) == 1


# --- roots


def test_an_unproved_difference_is_an_alarm_while_it_lasts(scene: Scene) -> None:
    scene.link.differs["flash"] = "entries 4 to 5 do not give the root that KOR signed"
    assert scene.look()[0] == ["KOR, lane flash: entries 4 to 5 do not give the root that KOR signed"]
    assert scene.metric("signalfire_roots_differ") == 1
    scene.link.differs.clear()
    assert len(scene.look()[1]) == 1
    assert scene.metric("signalfire_roots_differ") == 0


def test_a_contradiction_on_record_is_an_alarm_until_the_next_generation(scene: Scene) -> None:
    kor = Site("KOR", scene.site.path.parent / "kor.sqlite")
    kor.do(Beat(frozenset({"JPN"})))
    witness = Origin.witness("KOR", 1)
    scene.site.do(scene.site.receive(kor.incoming(witness)))
    kor.close()
    notes = [
        sign_checkpoint(Checkpoint(witness, 3, root), signatory_of("KOR").log).encode()
        for root in (b"a" * 32, b"b" * 32)
    ]
    found = contradiction(notes[0], notes[1], owner_keys(partner_of("KOR")))
    scene.site.do(KeepEvidence(found))
    (text,), _ = scene.look()
    assert text.startswith("KOR, lane witness: KOR has contradicted itself: signalfire/v1/KOR/witness/1: two roots")
    assert [alarm.critical for alarm in scene.alarms._standing.values()] == [True]
    scene.site.do(FollowSuccessor(witness, witness.successor()))
    assert len(scene.look()[1]) == 1


# --- keys that were retired


def test_what_no_key_in_use_covers_is_an_alarm_until_an_anchor_comes(scene: Scene, tmp_path: Path) -> None:
    kor, jpn = Site("KOR", tmp_path / "kor.sqlite"), scene.site
    to = {"marking__policy": "KOR", "marking__releasable_to": ["JPN"]}
    report = launch_detection(1, originator_node="KOR", **to)
    kor.take(report, rules("KOR", JPN=RELEASE_ALL))
    from_kor = Origin.release("KOR", "JPN", "flash", 1)
    jpn.do(jpn.receive(kor.incoming(from_kor, 0)))
    assert scene.look() == ([], [])
    assert scene.metric("signalfire_replicas_uncovered") == 0
    jpn.partners = {**jpn.partners, "KOR": nation("KOR", **rotated("KOR", NOW // SECOND))}
    (text,), _ = scene.look()
    assert "nothing by a key that it uses covers its ledger in lane flash" in text
    assert scene.metric("signalfire_replicas_uncovered") == 1
    anchored(kor, jpn, origin=from_kor)
    risen, fallen = scene.look()
    assert (risen, len(fallen)) == ([], 1)
    assert scene.metric("signalfire_replicas_uncovered") == 0
    kor.close()


# --- clocks


def test_a_partners_clock_that_is_off_is_an_alarm_while_it_is_heard(scene: Scene) -> None:
    scene.link.clock_offset_s, scene.link.heartbeat_at = 0.4, 1000.0
    assert scene.look() == ([], [])
    scene.link.clock_offset_s = -1.5
    assert scene.look(1)[0] == ["KOR's clock is 1.5 s behind ours: one of the two is wrong"]
    scene.link.heartbeat_at = None
    assert len(scene.look(1)[1]) == 1


def test_an_offset_that_the_way_of_the_heartbeat_explains_is_no_alarm(scene: Scene) -> None:
    scene.link.clock_offset_s, scene.link.clock_error_s, scene.link.heartbeat_at = 0.7, 0.3, 1000.0
    assert scene.look() == ([], [])
    scene.link.clock_error_s = 0.1
    assert scene.look(1)[0] == ["KOR's clock is 0.7 s ahead of ours: one of the two is wrong"]


def test_an_own_clock_that_is_not_trusted_is_a_critical_alarm_and_one_that_drifts_another(scene: Scene) -> None:
    scene.clock = ClockState("the clock was set back by 9.0 s since the start")
    (alarm,) = scene.alarms.look()[0]
    assert alarm.critical
    assert alarm.text.startswith("the clock was set back by 9.0 s since the start: the clock is not trusted")
    scene.clock = ClockState(remark="the machine's clock may be off by 1.5 s, as its kernel says")
    assert scene.look() == ([], [])
    assert [text.partition(" (alarm since")[0] for text in scene.alarms.standing] == [scene.clock.remark]
    scene.clock = ClockState()
    assert len(scene.look()[1]) == 1


# --- what a partner shows and does not bring


def shows(scene: Scene, size: int, lane: str = "flash") -> None:
    """A heartbeat of KOR shows that many entries of a lane; as many are here as the replica holds."""
    origin = Origin.release("KOR", "JPN", lane, 1)
    held = {str(head.origin): head.edge.size for head in scene.site.heads if head.replica}
    scene.link.owed.shown([Checkpoint(origin, size, b"r" * 32)], held, scene.seconds)


@pytest.fixture
def kor(tmp_path: Path) -> Iterator[Site]:
    site = Site("KOR", tmp_path / "kor.sqlite")
    yield site
    site.close()


def brings(scene: Scene, kor: Site, number: int) -> None:
    """One more entry of KOR's FLASH lane comes."""
    to = {"marking__policy": "KOR", "marking__releasable_to": ["JPN"]}
    kor.take(launch_detection(number, originator_node="KOR", **to), rules("KOR", JPN=RELEASE_ALL))
    origin = Origin.release("KOR", "JPN", "flash", 1)
    row = scene.site.store.ledger(origin)
    scene.site.do(scene.site.receive(kor.incoming(origin, 0 if row is None else row.size)))


def test_alerts_that_wait_to_be_passed_on_are_an_alarm_until_they_have_gone(scene: Scene) -> None:
    def put_off(*lines: str) -> None:
        plan = scene.site.plan()
        plan.commit.meta[PUT_OFF] = "\n".join(lines).encode()
        scene.site.keep(plan)

    ledger = "signalfire/v1/KOR/JPN"
    put_off(f"{ledger}/flash/1 1 5 9", f"{ledger}/flash/1 2 5 9", f"{ledger}/immediate/1 1 5 9")
    assert scene.look() == ([], [])
    assert scene.look(PUT_OFF_S) == ([], [])
    (text,), _ = scene.look(1)
    assert text == "alerts of KOR wait to be passed on to others, the oldest for 11 s"
    # What came since is younger.
    put_off(f"{ledger}/flash/1 1 5 30")
    assert scene.look() == ([], [])
    put_off(f"{ledger}/flash/1 1 9 30")
    assert len(scene.look(1)[1]) == 1
    put_off(f"{ledger}/flash/1 2 5 30", f"{ledger}/immediate/1 1 5 9")
    assert scene.look(100) == ([], []), "an exercise can wait, and so can a track"


def test_what_is_to_be_passed_on_and_cannot_be_read_is_a_critical_alarm_beside_the_others(scene: Scene) -> None:
    plan = scene.site.plan()
    plan.commit.meta[PUT_OFF] = b"x"
    scene.site.keep(plan)
    scene.policy = b""
    risen, _ = scene.look_for_alarms()
    assert [(alarm.key, alarm.critical) for alarm in risen] == [(("policy",), True), (("put off",), True)]
    assert "what is to be passed on cannot be read: the store's own value 'put off'" in risen[1].text


def test_entries_that_are_shown_and_do_not_come_are_an_alarm_until_they_come(scene: Scene, kor: Site) -> None:
    shows(scene, 2)
    assert scene.look() == ([], [])
    assert scene.look(29) == ([], [])
    assert scene.metric("signalfire_owed_seconds", lane="flash") == 29
    scene.link.problems["flash"] = "the store is full"
    (text,), _ = scene.look(2)
    assert text == "KOR shows entries in lane flash that do not come: nothing for 31 s: the store is full"
    assert scene.look(1) == ([], []), "told once"
    brings(scene, kor, 1)
    shows(scene, 2)
    assert len(scene.look(1)[1]) == 1
    assert scene.metric("signalfire_owed_seconds", lane="flash") == 0


def test_a_backlog_that_comes_is_no_alarm_however_long_it_takes_and_one_that_stops_is(scene: Scene, kor: Site) -> None:
    for number in range(8):
        shows(scene, 1000)
        assert scene.look(25) == ([], [])
        brings(scene, kor, number)
    assert scene.look() == ([], [])
    shows(scene, 1000)
    assert len(scene.look(31)[0]) == 1


def test_whoever_returns_with_a_backlog_begins_anew(scene: Scene) -> None:
    shows(scene, 2)
    scene.look()
    assert scene.look(3 * 86_400, heard=False)[0] == ["KOR is silent: no heartbeat for 259200 s"]
    risen, fallen = scene.look(1)
    assert (risen, len(fallen)) == ([], 1)
    assert scene.look(29) == ([], [])
    assert len(scene.look(2)[0]) == 1


def test_one_lane_that_stands_still_is_an_alarm_though_another_brings_what_it_has(scene: Scene, kor: Site) -> None:
    shows(scene, 2, "routine")
    for number in range(5):
        scene.look(10)
        brings(scene, kor, number)
    assert [text.partition(":")[0] for text in scene.alarms.standing] == [
        "KOR shows entries in lane routine that do not come"
    ]


# --- what expires


@pytest.mark.parametrize(
    ("what", "name", "told"),
    [
        ("certificate", "gateway", "the certificate of this gateway"),
        ("authority", "c2", "the c2 authority of this nation"),
        ("bundle", "KOR", "the trust bundle of KOR"),
        ("own-bundle", "JPN", "the trust bundle of this node"),
        ("agreement", "trilateral-2023", "the agreement trilateral-2023"),
    ],
)
def test_what_expires_is_an_alarm_four_weeks_before_and_a_critical_one_once_it_has(
    scene: Scene, what: str, name: str, told: str
) -> None:
    day = 86_400
    at = datetime.fromtimestamp(scene.seconds + 29 * day, UTC)
    scene.expiring = [Expiry(what, name, at)]
    assert scene.look() == ([], [])
    (alarm,), _ = scene.look_for_alarms(2 * day)
    assert (alarm.text, alarm.critical) == (f"{told} expires at {at:%Y-%m-%dT%H:%M:%SZ}, in 27 days", False)
    assert scene.look(day) == ([], []), "told once"
    (alarm,), fallen = scene.look_for_alarms(26 * day)
    assert (alarm.text.partition(": ")[0], alarm.critical, fallen) == (
        f"{told} expired at {at:%Y-%m-%dT%H:%M:%SZ}", True, [],
    )  # fmt: skip
    assert scene.look(day) == ([], []), "told once"
    scene.expiring = [Expiry(what, name, datetime.fromtimestamp(scene.seconds + 90 * day, UTC))]
    assert len(scene.look()[1]) == 1


def test_what_exercises_and_tests_alone_rest_on_may_end(scene: Scene) -> None:
    scene.expiring = [Expiry("agreement", "annex", datetime.fromtimestamp(scene.seconds, UTC), live=False)]
    assert scene.look() == ([], [])


# --- alerts that something failed for


BROKEN = "the agreement annex has lapsed"


def test_alerts_that_a_failure_withheld_are_a_critical_alarm_until_one_like_them_goes(scene: Scene) -> None:
    decided = scene.telemetry.decided
    decided("KOR", "released", False, Alert("LIVE", "LaunchDetection"))
    assert scene.look() == ([], [])
    decided("KOR", "withheld", False, Alert("LIVE", "LaunchDetection", BROKEN))
    (alarm,), _ = scene.look_for_alarms()
    assert alarm.critical
    assert alarm.text == f"FLASH withheld from KOR: {BROKEN} (1 LIVE since 1970-01-01T00:16:40Z)"
    decided("KOR", "withheld", False, Alert("LIVE", "LaunchDetection", BROKEN))
    decided("KOR", "withheld", False, Alert("LIVE", "Track", BROKEN))
    assert scene.look(60) == ([], []), "told once"
    assert f"{BROKEN} (3 LIVE since 1970-01-01T00:16:40Z)" in scene.alarms.standing[0]
    assert scene.metric("signalfire_alerts_withheld") == 3
    for other in (Alert("EXERCISE", "LaunchDetection"), Alert("LIVE", "ImpactPrediction")):
        decided("KOR", "released", False, other)
    decided("USA", "released", False, Alert("LIVE", "LaunchDetection"))
    scene.look(1)
    assert "(3 LIVE" in scene.alarms.standing[0]
    decided("KOR", "released", False, Alert("LIVE", "LaunchDetection"))
    assert scene.look(QUIET_S) == ([], [])
    assert "(1 LIVE" in scene.alarms.standing[0]
    decided("KOR", "released", False, Alert("LIVE", "Track"))
    assert len(scene.look(1)[1]) == 1
    assert scene.metric("signalfire_alerts_withheld") == 0


def test_an_alert_that_was_withheld_is_told_once_though_the_next_one_goes_before_anybody_looks(scene: Scene) -> None:
    scene.telemetry.decided("KOR", "withheld", True, Alert("LIVE", "LaunchDetection", BROKEN))
    scene.telemetry.decided("KOR", "released", False, Alert("LIVE", "LaunchDetection"))
    assert len(scene.look()[0]) == 1
    assert len(scene.look(QUIET_S)[1]) == 1
    assert scene.look(1) == ([], [])


def test_while_alerts_fail_again_and_again_the_alarm_stands_though_others_go(scene: Scene) -> None:
    """Another rule may release the others."""
    for _ in range(10):
        scene.telemetry.decided("KOR", "withheld", True, Alert("LIVE", "LaunchDetection", BROKEN))
        scene.telemetry.decided("KOR", "released", False, Alert("LIVE", "LaunchDetection"))
        assert scene.look(QUIET_S / 2)[1] == []
    assert scene.look(QUIET_S / 2)[1] == []
    assert len(scene.look(QUIET_S / 2)[1]) == 1


def test_another_policy_ends_what_was_told_of_the_one_before(scene: Scene) -> None:
    scene.telemetry.decided("KOR", "withheld", False, Alert("EXERCISE", "LaunchDetection", BROKEN))
    (alarm,), _ = scene.look_for_alarms()
    assert not alarm.critical, "it is an exercise"
    scene.policy = b"another"
    assert len(scene.look()[1]) == 1


# --- warnings after the all-clear of their event


def late(scene: Scene, number: int) -> report_pb2.Report:
    """A launch detection that was made before the all-clear and accepted after it."""
    report = launch_detection(10 + number)
    taken = scene.site.take(report, rules(KOR=RELEASE_ALL))
    assert taken.late is not None
    scene.telemetry.attention.accepted_late(taken.late)
    return report


def test_a_warning_after_its_all_clear_is_an_alarm_until_it_is_recalled(scene: Scene) -> None:
    scene.site.take(all_clear(1), rules(KOR=RELEASE_ALL))
    scene.link.paused.update(flash="not looked at here", immediate="nor this")
    first = late(scene, 1)
    (text,), _ = scene.look()
    assert text == f"a warning was accepted after the all-clear of its event, and stands: {first.report_id}"
    late(scene, 2)
    assert scene.look(1) == ([], []), "told once for each event"
    assert ", and 1 more of that event (alarm since" in scene.alarms.standing[0]
    assert scene.telemetry.registry.get_sample_value("signalfire_warnings_after_all_clear") == 2
    scene.site.take(all_clear(2), rules(KOR=RELEASE_ALL))
    risen, fallen = scene.look(1)
    assert (risen, len(fallen)) == ([], 1)
    assert scene.telemetry.registry.get_sample_value("signalfire_warnings_after_all_clear") == 0


def test_it_is_told_for_an_hour_at_the_most(scene: Scene) -> None:
    scene.site.take(all_clear(1), rules(KOR=RELEASE_ALL))
    scene.link.paused.update(flash="not looked at here", immediate="nor this")
    late(scene, 1)
    assert len(scene.look()[0]) == 1
    assert scene.look(LATE_TOLD_S - 1) == ([], [])
    assert len(scene.look(1)[1]) == 1


def test_thousands_of_them_do_not_fill_the_memory(scene: Scene) -> None:
    attention = scene.telemetry.attention
    for number in range(1000):
        attention.accepted_late(Late(str(number), number.to_bytes(16)))
    assert len(attention.late_ids) == LATE_KEPT
