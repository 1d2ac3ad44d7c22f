"""The witness ledger commits to all that a node keeps, and what travels of it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind
from gateway.release.replica import ReplicaError
from gateway.release.steps import KeepCosignature, RecordEvent
from gateway.release.witness import PADDING, Beat, Witnessed, WitnessError, parts_of, read
from gateway.seal.commitment import SALT_SIZE
from gateway.seal.entry import EntryKind, padding_class, parse_header
from tests.release.world import RELEASE_ALL, MakeSite, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection

WITNESS = Origin.witness("JPN", 1)
DECISIONS = Origin.decisions("JPN", 1)
TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
BEAT = Beat(frozenset({"KOR", "USA"}))
RULES = rules(KOR=RELEASE_ALL)


def beats(site: Site, origin: Origin = WITNESS) -> dict[int, Witnessed]:
    """What each entry of the witness ledger commits to, by index."""
    run = site.run(origin)
    entries = bundle.decode(run.entries, run.count)
    payloads = {at: site.opener.payload(origin, at, entry, entries.__getitem__) for at, entry in enumerate(entries)}
    return {at: read(site.node, payload) for at, payload in payloads.items() if payload is not None}


def sealed_sizes(site: Site) -> list[int]:
    run = site.run(WITNESS)
    entries = bundle.decode(run.entries, run.count)
    return [len(entry) for entry in entries if parse_header(entry).kind is EntryKind.SEALED_CONTENT]


def test_a_beat_commits_to_the_durable_heads_of_all_own_ledgers(jpn: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    expected = {Checkpoint(head.origin, head.edge.size, head.edge.root()) for head in jpn.heads if head.edge.size}
    assert {head.origin for head in expected} == {DECISIONS, TO_KOR}
    jpn.do(BEAT)
    (witnessed,) = beats(jpn).values()
    assert set(witnessed.heads) == expected
    assert witnessed.time_ns == jpn.now_ns


def test_what_is_appended_in_the_same_commit_waits_for_the_next_beat(jpn: Site) -> None:
    jpn.do(RecordEvent("one", ""))
    jpn.do_all(RecordEvent("two", ""), BEAT)
    jpn.do(BEAT)
    first, second = beats(jpn).values()
    assert [head.size for head in first.heads] == [2]
    assert [head.size for head in second.heads] == [3]


def test_replicas_and_the_witness_ledger_itself_are_not_named(jpn: Site, kor: Site) -> None:
    kor.take(launch_detection(1, originator_node="KOR"), rules("KOR", JPN=RELEASE_ALL))
    kor.do(Beat(frozenset({"JPN"})))
    jpn.do(jpn.receive(kor.incoming(Origin.witness("KOR", 1))))
    jpn.do(BEAT)
    jpn.do(BEAT)
    assert [list(each.heads) for each in beats(jpn).values()] == [[], []]


def test_a_beat_without_a_trusted_clock_has_no_time(jpn: Site) -> None:
    jpn.clock_trusted = False
    jpn.do(BEAT)
    assert [each.time_ns for each in beats(jpn).values()] == [None]


def test_every_entry_has_the_same_size_whatever_happened(jpn: Site) -> None:
    jpn.do(BEAT)
    jpn.take(launch_detection(1), RULES)
    jpn.do(BEAT)
    jpn.clock_trusted = False
    jpn.do(BEAT)
    assert len(set(sealed_sizes(jpn))) == 1


def test_a_suspension_does_not_show(jpn: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    jpn.do(BEAT)
    plan = jpn.plan()
    BEAT.apply(plan)
    plan.govern(replace(RULES, suspended=frozenset({"KOR"})))
    BEAT.apply(plan)
    jpn.keep(plan)
    jpn.heads.without_epochs(home=False)
    jpn.do(BEAT)
    assert len(sealed_sizes(jpn)) == 4
    assert jpn.row(WITNESS).size == 5, "one epoch was opened"


def test_a_restart_shows_as_one_opening(jpn: Site) -> None:
    jpn.do(BEAT)
    jpn.restart()
    jpn.do(BEAT)
    assert jpn.row(WITNESS).size == 4


# --- size

NODES = [f"{a}{b}{c}" for a in "ABCDEF" for b in "ABCDE" for c in "ABCDE" if (a, b, c) != ("A", "A", "A")]
HEAD = st.tuples(st.integers(1, 9_999_999), st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))


@settings(max_examples=60, deadline=None)
@given(
    recipients=st.integers(0, 30),
    heads=st.dictionaries(st.tuples(st.integers(-1, 29), st.sampled_from(list(Lane))), HEAD, max_size=40),
    time_ns=st.one_of(st.none(), st.integers(0, 2**62)),
)
def test_the_padding_class_follows_from_the_recipients_alone(
    recipients: int, heads: Mapping[tuple[int, Lane], tuple[int, int, bytes]], time_ns: int | None
) -> None:
    names = NODES[:recipients]
    given_heads: dict[str | None, list[Checkpoint]] = {}
    for (place, lane), (generation, size, root) in heads.items():
        if place >= recipients:
            continue
        if place < 0:
            given_heads[None] = [Checkpoint(Origin.decisions("AAA", generation), size, root)]
            continue
        origin = Origin.release("AAA", names[place], lane, generation)
        given_heads.setdefault(names[place], []).append(Checkpoint(origin, size, root))
    sizes = set()
    for each in ({}, given_heads):
        parts = parts_of("AAA", time_ns, each, (None, *names))
        assert len(parts) % 16 == 0
        assert parts[-1].group == PADDING
        salted = [ledger_pb2.Part(group=p.group, salt=bytes(SALT_SIZE), content=p.content) for p in parts]
        payload = ledger_pb2.SealedPayload(parts=salted)
        sizes.add(padding_class(payload.ByteSize()))
        found = read("AAA", payload)
        assert found.time_ns == time_ns
        assert {head for heads in each.values() for head in heads} == set(found.heads)
    assert len(sizes) == 1


@pytest.mark.parametrize(("partners", "entries"), [(0, 1), (1, 1), (30, 1), (31, 2), (149, 5)])
def test_many_partners_take_several_entries_always_as_many(jpn: Site, partners: int, entries: int) -> None:
    beat = Beat(frozenset(NODES[:partners]))
    for _ in range(2):
        jpn.do(beat)
    assert len(sealed_sizes(jpn)) == 2 * entries


# --- reading


def entry() -> ledger_pb2.SealedPayload:
    """A beat with two heads."""
    heads: dict[str | None, list[Checkpoint]] = {
        None: [Checkpoint(DECISIONS, 4, bytes(32))],
        "KOR": [Checkpoint(TO_KOR, 2, bytes(32))],
    }
    payload = ledger_pb2.SealedPayload(parts=parts_of("JPN", NOW, heads, (None, "KOR")))
    return payload


def with_head(part: int, origin: Origin, size: int = 1, root: bytes = bytes(32)) -> ledger_pb2.SealedPayload:
    payload = entry()
    content = ledger_pb2.EntryContent.FromString(payload.parts[part].content)
    content.witness_record.heads.add(origin=str(origin), size=size, root=root)
    payload.parts[part].content = content.SerializeToString()
    return payload


def other_time() -> ledger_pb2.SealedPayload:
    payload = entry()
    content = ledger_pb2.EntryContent.FromString(payload.parts[1].content)
    content.witness_record.time.seconds += 1
    payload.parts[1].content = content.SerializeToString()
    return payload


def one_part_less() -> ledger_pb2.SealedPayload:
    payload = entry()
    del payload.parts[-1]
    return payload


def of_group(group: ledger_pb2.PartGroup.ValueType) -> ledger_pb2.SealedPayload:
    payload = entry()
    payload.parts[0].group = group
    return payload


def holding(content: bytes) -> ledger_pb2.SealedPayload:
    payload = entry()
    payload.parts[0].content = content
    return payload


REFUSED = {
    "a head of another node's ledger": lambda: with_head(0, Origin.decisions("KOR", 1)),
    "a head of the witness ledger": lambda: with_head(0, WITNESS),
    "a ledger twice": lambda: with_head(0, DECISIONS),
    "heads for two recipients in one part": lambda: with_head(1, Origin.release("JPN", "USA", "flash", 1)),
    "an empty ledger": lambda: with_head(0, Origin.decisions("JPN", 2), 0),
    "a root of 31 bytes": lambda: with_head(0, Origin.decisions("JPN", 2), 1, bytes(31)),
    "padding that holds something": lambda: with_head(15, Origin.decisions("JPN", 2)),
    "two times": other_time,
    "fifteen parts": one_part_less,
    "a part of another group": lambda: of_group(ledger_pb2.PART_GROUP_DECISION),
    "a part that is no record": lambda: holding(b"\xff"),
    "a part that is another record": lambda: holding(
        ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString()
    ),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in REFUSED.items()])
def test_what_is_no_beat_is_refused(make: object) -> None:
    assert read("JPN", entry()).heads
    with pytest.raises(WitnessError):
        read("JPN", make())  # type: ignore[operator]


# --- at a partner


def test_a_partner_keeps_and_cosigns_what_it_cannot_open(jpn: Site, kor: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    jpn.do(BEAT)
    received = kor.do(kor.receive(jpn.incoming(WITNESS)))
    assert (received.reports, received.unopenable) == (0, [])
    assert kor.row(WITNESS).root == jpn.row(WITNESS).root
    assert kor.store.counts().feed == 0


def test_every_partner_gives_a_receipt_of_its_own(jpn: Site, kor: Site, usa: Site) -> None:
    jpn.do(BEAT)
    for site in (kor, usa):
        receipt = site.do(site.receive(jpn.incoming(WITNESS))).receipt
        jpn.do(KeepCosignature(WITNESS, CosignatureKind.RECEIPT, receipt, partner_of(site.node)))
    kept = jpn.store.cosignatures(jpn.row(WITNESS).id)
    assert sorted((row.signer, row.size) for row in kept) == [("KOR", 2), ("USA", 2)]


def test_no_entry_of_a_witness_ledger_may_come_as_its_hash(jpn: Site, kor: Site) -> None:
    jpn.do(BEAT)
    batch = jpn.incoming(WITNESS)
    opening, beat = bundle.decode(batch.entries, 2)
    reason = EntryStatement(EntryStatementKind.ABSENT, "JPN", WITNESS, 1, leaf_hash(beat), "not for you")
    row = (1, leaf_hash(beat), reason.sign(signatory_of("JPN").gateway))
    sent = replace(batch, entries=bundle.encode([opening, b""], allow_absent=True), absent=[row])
    with pytest.raises(ReplicaError, match="home ledger"):
        kor.do(kor.receive(sent))
    assert kor.store.ledger(WITNESS) is None


def test_a_receipt_that_one_partner_gave_is_not_taken_from_another(jpn: Site) -> None:
    jpn.do(BEAT)
    raw = jpn.store.checkpoint(jpn.row(WITNESS).id, 2)
    assert raw is not None
    text = Note.parse(raw).text
    note = Note(text, (cosign(text, signatory_of("KOR").receipt, NOW // SECOND),)).encode()
    plan = jpn.plan()
    with pytest.raises(Exception, match="no signature by a key"):
        KeepCosignature(WITNESS, CosignatureKind.RECEIPT, note, partner_of("USA")).apply(plan)


def test_the_time_of_a_beat_is_that_of_its_commit(make_site: MakeSite) -> None:
    site = make_site("JPN", "timed")
    site.now_ns = int(datetime(2030, 5, 1, tzinfo=UTC).timestamp()) * 10**9 + 7
    site.do(BEAT)
    (witnessed,) = beats(site).values()
    assert witnessed.time_ns == site.now_ns
