"""A node that keeps two histories of its decisions, with its real keys, is caught: by its witness ledger and by others.

The second history is built whole, by the same gateway code: sealed, signed, with its releases and records, so that
nothing in it is wrong by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from gateway.audit.exported import ExportedFolder
from gateway.audit.reconcile import Comparison, Verdict, reconcile
from gateway.audit.signers import Signers
from gateway.audit.verify import Verification, verify_store
from gateway.ledger.evidence import contradiction
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.batch import IncomingBatch
from gateway.release.evidence import Contradicted, owner_keys
from gateway.release.replica import RootsDiffer
from gateway.release.steps import KeepCosignature, RecordEvent
from gateway.release.witness import Beat
from tests.audit.exports import write
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, MakeSite, Site, partner_of, rules
from tests.reports.examples import SECOND, launch_detection

WITNESS = Origin.witness("JPN", 1)
DECISIONS = Origin.decisions("JPN", 1)
BEAT = Beat(frozenset({"KOR", "USA"}))
BEATS = 4


def live(site: Site, rulebook_text: str) -> None:
    """A day of JPN: something happens between beats, and KOR is released it, or not."""
    site.do(RecordEvent("started", "a test"))
    for number in range(BEATS):
        site.now_ns += 10 * SECOND
        site.do(BEAT)
        site.take(launch_detection(number), rules(KOR=rulebook_text))


def verify(site: Site) -> Verification:
    return verify_store(site.store, site.signatory, site.partners)


def found(site: Site, where: Origin) -> list[str]:
    """What is wrong with one ledger, and nothing is wrong with any other."""
    findings = verify(site).findings
    assert {finding.where for finding in findings} <= {str(where)}, findings
    return [finding.what for finding in findings]


@dataclass(slots=True)
class Two:
    """The history that partners have signed for, and the one that replaces it."""

    true: Site
    false: Site
    partners: list[Site]

    def transplant(self, *tables: str) -> None:
        """The witness ledger of the true history takes the place of that of the false one; or these tables of it."""
        self.false.store.close()
        tables = tables or ("segment", "tile", "checkpoint", "cosignature")
        db = apsw.Connection(str(self.false.path))
        db.execute("ATTACH ? AS true", (str(self.true.path),))
        (new,) = next(iter(db.execute("SELECT id FROM main.ledger WHERE origin = ?", (str(WITNESS),))))
        (old,) = next(iter(db.execute("SELECT id FROM true.ledger WHERE origin = ?", (str(WITNESS),))))
        for table in tables:
            names = [name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})") if name != "id"]
            listed = ", ".join(names)
            chosen = ", ".join("?1" if name == "ledger" else name for name in names)
            db.execute(f"DELETE FROM main.{table} WHERE ledger = ?", (new,))
            query = f"INSERT INTO main.{table} ({listed}) SELECT {chosen} FROM true.{table} WHERE ledger = ?2"
            db.execute(query, (new, old))
        if "segment" in tables:
            db.execute(
                "UPDATE main.ledger SET (size, root) = (SELECT size, root FROM true.ledger WHERE id = ?) WHERE id = ?",
                (old, new),
            )
        db.close()
        self.false.restart()


@pytest.fixture
def two(make_site: MakeSite) -> Two:
    true, false = make_site("JPN", "true"), make_site("JPN", "false")
    kor, usa = make_site("KOR"), make_site("USA")
    live(true, RELEASE_ALL)
    live(false, RELEASE_NOTHING)
    for site in (kor, usa):
        receipt = site.do(site.receive(true.incoming(WITNESS))).receipt
        true.do(KeepCosignature(WITNESS, CosignatureKind.RECEIPT, receipt, partner_of(site.node)))
    return Two(true, false, [kor, usa])


def test_each_history_is_sound_by_itself(two: Two) -> None:
    assert verify(two.true).findings == []
    assert verify(two.false).findings == []


def test_another_history_of_decisions_under_the_same_witness_ledger_is_named_from_its_first_entry_on(two: Two) -> None:
    two.transplant()
    what = found(two.false, WITNESS)
    # Up to the first report both are the same, but for salts and keys: those alone make the roots differ.
    assert f"entry 1 commits to {DECISIONS}" in what[0]
    assert "its history is another" in what[0]
    for beat in range(BEATS):
        assert any(each.startswith(f"entry {beat + 1} commits to {DECISIONS}") for each in what), what


def test_a_release_ledger_that_is_missing_is_named(two: Two) -> None:
    two.transplant()
    assert any(f"{Origin.release('JPN', 'KOR', 'flash', 1)} with" in each for each in found(two.false, WITNESS))


def test_a_witness_ledger_that_is_rewritten_too_contradicts_the_receipts(two: Two) -> None:
    two.transplant("cosignature")
    what = found(two.false, WITNESS)
    assert len(what) == 2, "one for each partner"
    assert all("it is not over the checkpoint on record" in each for each in what)


def test_without_receipts_the_partners_show_it(two: Two) -> None:
    assert verify(two.false).findings == [], "alone nobody could tell"
    two.false.do(BEAT)
    for site in two.partners:
        size = site.row(WITNESS).size
        goes_on = site.receive(two.false.incoming(WITNESS, size))
        with pytest.raises(RootsDiffer):
            site.do(goes_on)
        again = site.receive(up_to(two.false, size))
        with pytest.raises(Contradicted) as caught:
            site.do(again)
        assert caught.value.found.origin == WITNESS
        # What he keeps convinces anyone who has JPN's public keys.
        statements = caught.value.found.statements
        assert contradiction(*statements, owner_keys(partner_of("JPN"))) == caught.value.found


def up_to(site: Site, size: int) -> IncomingBatch:
    """The witness ledger of a node from its beginning to one of its sizes."""
    raw = site.store.checkpoint(site.row(WITNESS).id, size)
    assert raw is not None
    return replace(site.incoming(WITNESS), count=size, checkpoint=raw)


def test_two_partners_who_were_shown_two_histories_find_it_between_their_exported_folders(
    make_site: MakeSite, tmp_path: Path
) -> None:
    true, false, kor, usa = make_site("JPN", "true"), make_site("JPN", "false"), make_site("KOR"), make_site("USA")
    for owner, partner, released in ((true, kor, RELEASE_ALL), (false, usa, RELEASE_NOTHING)):
        live(owner, released)
        partner.do(partner.receive(owner.incoming(WITNESS)))
        assert verify(partner).sound
        write(partner, tmp_path / partner.node)
    ours, theirs = (ExportedFolder(tmp_path / node, "KOR", "USA") for node in ("KOR", "USA"))
    signers = {node: Signers.of(partner_of(node)) for node in ("JPN", "KOR", "USA")}

    async def run() -> list[Comparison]:
        compared = reconcile(
            "KOR", "USA", ours, theirs, signers, at_once=False, signed_sizes=ours.signed_sizes, between=False
        )
        return [each async for each in compared]

    (found,) = asyncio.run(run())
    assert (found.origin, found.verdict) == (WITNESS, Verdict.EQUIVOCATION)
    one, other = found.evidence
    assert contradiction(one, other, owner_keys(partner_of("JPN"))).origin == WITNESS


# --- what a witness ledger itself may not do


def beat(site: Site, **changes: int) -> None:
    for name, value in changes.items():
        setattr(site, name, value)
    site.do(BEAT)


def test_a_time_that_goes_back_is_named(two: Two) -> None:
    beat(two.true, now_ns=two.true.now_ns - 60 * SECOND)
    (what,) = found(two.true, WITNESS)
    assert "60 s older than one before it" in what


def test_a_time_that_goes_back_a_little_is_what_clocks_do(two: Two) -> None:
    beat(two.true, now_ns=two.true.now_ns - 3 * SECOND)
    assert found(two.true, WITNESS) == []


def test_a_time_that_goes_back_once_the_clock_was_declared_right_is_in_order(two: Two) -> None:
    two.true.now_ns -= 60 * SECOND
    two.true.do(RecordEvent("clock-declared-right", "it ran ahead"))
    beat(two.true)
    assert found(two.true, WITNESS) == []
    beat(two.true, now_ns=two.true.now_ns - 60 * SECOND)
    assert len(found(two.true, WITNESS)) == 1, "once is not for ever"


def test_that_pruning_goes_on_says_nothing_of_times_that_go_back(two: Two) -> None:
    two.true.now_ns -= 60 * SECOND
    two.true.do(RecordEvent("pruning-resumed", "contents may be pruned by the clock again"))
    beat(two.true)
    (what,) = found(two.true, WITNESS)
    assert "nobody declared the clock right" in what


def test_a_ledger_that_shrinks_or_is_left_out_is_named(two: Two) -> None:
    heads = two.true.heads
    before = dict(heads._heads)
    two.true.take(launch_detection(50), rules(KOR=RELEASE_ALL))
    beat(two.true)
    grown = dict(heads._heads)
    heads._heads = {**grown, DECISIONS: before[DECISIONS]}
    two.true.do(BEAT)
    heads._heads = {origin: head for origin, head in heads._heads.items() if origin.recipient is None}
    two.true.do(BEAT)
    what = found(two.true, WITNESS)
    assert len(what) == 2, what
    assert "commits to signalfire/v1/JPN/decisions/1 with 6 entries, and one before it" in what[0]
    assert "leaves out signalfire/v1/JPN/KOR/flash/1" in what[1]


def test_an_entry_that_is_no_beat_is_named(two: Two) -> None:
    plan = two.true.plan()
    plan.ledgers.witness().append(b"")
    two.true.keep(plan)
    (what,) = found(two.true, WITNESS)
    assert "is no beat" in what
