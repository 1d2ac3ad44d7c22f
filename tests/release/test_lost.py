"""How many decisions were lost is counted from what both histories have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.recovery.lost import META, Lost, keep_witnessed, witnessed_sizes
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.steps import KeepCosignature, RecordEvent, RecordMeta
from gateway.release.succeeding import Succeed
from gateway.release.witness import Beat
from tests.release.world import MakeSite, Site, partner_of

WITNESS, DECISIONS = Origin.witness("JPN", 1), Origin.decisions("JPN", 1)
BEAT = Beat(frozenset({"KOR", "USA"}))
RESTORE = ledger_pb2.SUCCESSION_REASON_RESTORE


def beat(jpn: Site, kor: Site) -> None:
    """A beat that KOR confirms."""
    jpn.do(BEAT)
    row = kor.store.ledger(WITNESS)
    receipt = kor.do(kor.receive(jpn.incoming(WITNESS, 0 if row is None else row.size))).receipt
    jpn.do(KeepCosignature(WITNESS, CosignatureKind.RECEIPT, receipt, partner_of("KOR")))


def head_of(site: Site, origin: Origin = DECISIONS) -> Checkpoint:
    row = site.row(origin)
    return Checkpoint(origin, row.size, row.root)


def events(site: Site, count: int, what: str) -> None:
    for number in range(count):
        site.do(RecordEvent("a test", f"{what} {number}"))


@pytest.fixture
def copy(jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path) -> Site:
    """JPN on an older copy; five decisions more were made on the store that was lost."""
    events(jpn, 3, "before")
    beat(jpn, kor)
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    events(jpn, 5, "lost")
    beat(jpn, kor)
    return make_site("JPN", "copy")


def kept(copy: Site, head: Checkpoint) -> Lost | None:
    for key, value in keep_witnessed(copy.store, [head], copy.opener):
        copy.do(RecordMeta(((key, value),)))
    return witnessed_sizes(copy.store).get(head.origin)


def test_of_a_copy_that_was_declared_before_anything_was_written_the_rest_is_lost(copy: Site, jpn: Site) -> None:
    here = copy.row(DECISIONS).size
    copy.do(DeclareSetBack("a test", None, RESTORE))
    assert kept(copy, head_of(jpn)) == Lost(jpn.row(DECISIONS).size, here)


@pytest.mark.parametrize("written", [2, 20])
def test_of_a_copy_that_was_written_to_what_a_confirmed_beat_did_not_name_may_be_lost(
    copy: Site, jpn: Site, kor: Site, written: int
) -> None:
    shared = copy.row(DECISIONS).size
    events(copy, written, "the second history")
    copy.do(Succeed(WITNESS, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, kor.run(WITNESS).checkpoint, shown_by="KOR"))
    lost = kept(copy, head_of(jpn))
    assert lost is not None
    assert lost.size == jpn.row(DECISIONS).size
    assert 0 < lost.here <= shared


def test_a_beat_that_names_what_is_here_tells_of_nothing_lost(copy: Site) -> None:
    copy.do(DeclareSetBack("a test", None, RESTORE))
    assert kept(copy, head_of(copy)) is None
    assert kept(copy, Checkpoint(WITNESS, 99, bytes(32))) is None, "of decisions alone anything is told"


def test_a_store_that_is_gone_lacks_all_of_it_and_a_later_beat_tells_of_more(make_site: MakeSite) -> None:
    site = make_site("JPN", "gone")
    site.do(DeclareSetBack("a test", None, RESTORE))
    for size, expected in ((7, 7), (9, 9), (8, 9)):
        assert kept(site, Checkpoint(DECISIONS, size, bytes([size]) * 32)) == Lost(expected, 0)
    second = DECISIONS.successor().successor()
    assert kept(site, Checkpoint(second, 4, bytes(32))) == Lost(4, 0), "of a generation that is not known here too"


def test_what_does_not_read_is_said(jpn: Site) -> None:
    jpn.do(RecordMeta(((META, b"signalfire/v1/JPN/decisions/1 7\n"),)))
    with pytest.raises(StoreError, match="does not read"):
        witnessed_sizes(jpn.store)
