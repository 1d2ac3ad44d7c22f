"""Each run of entries for a partner ends with what was decided for it, and its size says nothing of how much it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import Run
from gateway.release.recovery.records import (
    ENTRIES_A_RECORD,
    LARGEST_DECISION,
    WAITING_BYTES,
    Recording,
    Recovery,
    capacity_for,
)
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.recovery import RecordKey, unwrap_record_key
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, MakeSite, Site, identifier, rules
from tests.reports.examples import launch_detection

KEY = SealingPrivateKey.generate()
FLASH = Origin.release("JPN", "KOR", Lane.FLASH, 1)
DECIDED = Origin.decisions("JPN", 1)


def keep_records(site: Site) -> Recovery:
    """Has the site keep recovery records, as the sequencer does."""
    site.recovery = Recovery(KEY.public)
    return site.recovery


def records(site: Site, origin: Origin = FLASH) -> list[ledger_pb2.RecoveryRecord]:
    """What the records in a ledger say, opened with the recovery key."""
    found: list[ledger_pb2.RecoveryRecord] = []
    keys: dict[int, RecordKey] = {}
    for index, content in site.contents(origin).items():
        if content.HasField("sealed_recovery"):
            sealed = content.sealed_recovery
            if sealed.HasField("key"):
                raw = unwrap_record_key(str(origin), sealed, index, "JPN", KEY)
                keys[index] = RecordKey.read_with(str(origin), index, raw)
            found.append(keys[sealed.key_index].open(index, sealed.ciphertext))
    return found


def test_a_release_is_followed_by_its_decision_sealed_for_the_recovery_key(jpn: Site) -> None:
    keep_records(jpn)
    report = launch_detection(1)
    jpn.take(report, rules(KOR=RELEASE_ALL))
    (record,) = records(jpn)
    (decided,) = record.decided
    assert record.decisions == str(DECIDED)
    assert (decided.report_id, decided.rule, decided.submitted_by) == (
        identifier(report), "everything", "spiffe://jpn/c2/radar",
    )  # fmt: skip
    assert (decided.ledger, decided.index) == (str(FLASH), 1)
    assert jpn.contents(DECIDED)[decided.decision_index].decision_record.report_id == report.report_id


def test_what_was_withheld_waits_for_the_next_release_and_does_not_show_in_the_sizes(
    jpn: Site, make_site: MakeSite
) -> None:
    def sizes(site: Site, withheld: int) -> list[int]:
        keep_records(site)
        for seed in range(withheld):
            site.take(launch_detection(seed + 50), rules(KOR=RELEASE_NOTHING))
        site.take(launch_detection(1), rules(KOR=RELEASE_ALL))
        return [len(entry) for entry in _entries(site.run(FLASH))]

    assert sizes(make_site("JPN", "calm"), 0) == sizes(jpn, 5)
    (record,) = records(jpn)
    outcomes = [decided.outcome for decided in record.decided]
    assert outcomes == [ledger_pb2.OUTCOME_RELEASED] + 5 * [ledger_pb2.OUTCOME_WITHHELD]


def _entries(run: Run) -> list[bytes]:
    return list(bundle.decode(run.entries, run.count, allow_absent=True))


def test_after_a_restart_a_new_record_key_is_drawn_with_the_new_epoch(jpn: Site) -> None:
    keep_records(jpn)
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    jpn.take(launch_detection(2), rules(KOR=RELEASE_ALL))
    jpn.restart()
    jpn.take(launch_detection(3), rules(KOR=RELEASE_ALL))
    sealed = [each.sealed_recovery for each in jpn.contents(FLASH).values() if each.HasField("sealed_recovery")]
    assert [each.HasField("key") for each in sealed] == [True, False, True]
    assert len(records(jpn)) == 3


def test_the_recipient_passes_over_what_it_cannot_open(jpn: Site, kor: Site) -> None:
    keep_records(jpn)
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    received = kor.do(kor.receive(jpn.incoming(FLASH)))
    assert (received.reports, list(received.unopenable)) == (1, [])


RECORD = ledger_pb2.DecisionRecord(report_id=launch_detection(1).report_id)


def note(recording: Recording, number: int, size: int) -> None:
    """Takes note of a decision that stands in the entry of that number, in about so many bytes."""
    decision = ledger_pb2.Decision(partner="KOR", rule="r" * size)
    recording.note(str(DECIDED), number, RECORD, [decision], 0, "JPN")


@given(st.lists(st.integers(1, LARGEST_DECISION + 200), max_size=60), st.lists(st.integers(1, 400), max_size=6))
def test_every_decision_is_in_one_record_or_waits_or_is_counted_as_left_out(sizes: list[int], runs: list[int]) -> None:
    recovery = Recovery(KEY.public)
    recording = Recording(recovery)
    for number, size in enumerate(sizes):
        note(recording, number, size)
    recording.settle()
    recovery.adopt(recording)
    told: list[int] = []
    left_out = 0
    for entries in runs:
        recording = Recording(recovery)
        made = recording.records(FLASH, entries)
        assert sum(min(ENTRIES_A_RECORD, entries - at) for at in range(0, entries, ENTRIES_A_RECORD)) == entries
        assert len(made) == -(-entries // ENTRIES_A_RECORD)
        for record, capacity in made:
            assert len(record.SerializeToString()) <= capacity - 4
            told += [each.decision_index for each in record.decided]
            left_out += record.left_out
        recording.settle()
        recovery.adopt(recording)
    waiting = recovery.waiting.get("KOR")
    remaining = [] if waiting is None else list(waiting.items)
    counted = left_out + (0 if waiting is None else waiting.left_out)
    assert told == sorted(told)
    assert len(told) + len(remaining) + counted == len(sizes)


def test_what_waits_is_bounded_and_what_is_left_out_is_counted_once_in_the_next_record() -> None:
    recovery = Recovery(KEY.public)
    recording = Recording(recovery)
    many = 2 * WAITING_BYTES // 1000
    for number in range(many):
        note(recording, number, 1000)
    recording.settle()
    recovery.adopt(recording)
    assert recovery.waiting["KOR"].size <= WAITING_BYTES
    left = recovery.waiting["KOR"].left_out
    assert left > 0
    for expected in (left, 0):
        recording = Recording(recovery)
        ((record, _),) = recording.records(FLASH, 1)
        assert record.left_out == expected
        recording.settle()
        recovery.adopt(recording)


def test_the_capacity_follows_from_the_number_of_entries_alone_and_is_enough() -> None:
    for entries in range(1, ENTRIES_A_RECORD + 1):
        assert capacity_for(entries) >= 1024 + 256 * entries
