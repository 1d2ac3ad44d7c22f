"""The index by which decisions are searched is held against the decisions ledgers."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from gateway.audit.verify import verify_store
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.steps import RecordEvent
from gateway.release.verdicts import TO_INDEX, Verdicts, missing
from tests.release.test_pending import AT_ONCE, HOLD
from tests.release.test_pipeline import cancelling
from tests.release.world import Site, identifier
from tests.reports.examples import launch_detection, track

FIRST, HELD = track(1), launch_detection(3, event_id="held")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPN's store: an event, a report that was decided once, and one that was held and recalled."""
    path = tmp_path_factory.mktemp("indexed") / "jpn.sqlite"
    jpn = Site("JPN", path)
    jpn.do(RecordEvent("started", "a test"))
    jpn.take(FIRST, AT_ONCE)
    jpn.take(HELD, HOLD)
    jpn.take(cancelling(HELD))
    jpn.close()
    return path


def findings(path: Path) -> list[str]:
    site = Site("JPN", path)
    found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
    site.close()
    return found


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("DELETE FROM decision WHERE verdict = 1", "holds a decision that is not in it"),
        ("DELETE FROM decision", "holds a decision that is not in it"),
        ("UPDATE decision SET time_ns = time_ns + 1 WHERE verdict = 2", "that entry says otherwise"),
        ("UPDATE decision SET idx = idx + 1 WHERE verdict = 2", "that entry says otherwise"),
        ("UPDATE decision SET verdict = 3 WHERE verdict = 2", "under verdict 3, and that entry says otherwise"),
        ("INSERT INTO decision VALUES (1, 5, 1, 1)", "that entry says otherwise"),
        ("UPDATE verdict SET partner = 'USA' WHERE partner = 'KOR'", "that entry says otherwise"),
        ("UPDATE verdict SET outcome = 2 WHERE outcome = 1", "that entry says otherwise"),
        ("UPDATE verdict SET name = zeroblob(40) WHERE id = 2", "verdict 2 does not open"),
        ("UPDATE verdict SET name = (SELECT name FROM verdict WHERE id = 1) WHERE id = 2", "verdict 2 does not open"),
        ("INSERT INTO verdict SELECT 99, partner, originator, outcome, kind, traffic_class, precedence, name"
         " FROM verdict WHERE id = 1", "verdict 99 does not open"),
        ("DELETE FROM decision_subject", "is not found by its report and event"),
        ("UPDATE decision_subject SET event_id = 'another'", "a report and event that it is not about"),
        (f"UPDATE decision_subject SET report_id = x'{identifier(FIRST).hex()}'", "a report and event that it is not"),
        (f"INSERT INTO meta VALUES ('{TO_INDEX}', zeroblob(16))", "it is not whole"),
    ],
)  # fmt: skip
def test_what_was_changed_in_the_index_is_found(indexed: Path, tmp_path: Path, tampering: str, what: str) -> None:
    changed = Path(shutil.copy(indexed, tmp_path / "jpn.sqlite"))
    db = apsw.Connection(str(changed))
    db.execute(tampering)
    assert db.changes() > 0
    db.close()
    found = findings(changed)
    assert any(finding.startswith("index of decisions: ") and what in finding for finding in found), found


def test_an_index_that_was_kept_is_sound(indexed: Path) -> None:
    assert findings(indexed) == []


def test_an_index_made_from_the_ledgers_is_the_one_that_was_kept(indexed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(indexed, tmp_path / "jpn.sqlite"))
    kept = SqliteStore(path)
    rows, subjects = list(kept.indexed_decisions()), list(kept.indexed_subjects())
    kept.close()
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM decision; DELETE FROM decision_subject; DELETE FROM verdict")
    db.execute("INSERT INTO meta VALUES (?, zeroblob(16))", (TO_INDEX,))
    db.close()

    site = Site("JPN", path)
    for commit in missing(site.store, site.signatory):
        site.store.commit(commit)
    assert list(site.store.indexed_decisions()) == rows
    assert list(site.store.indexed_subjects()) == subjects
    assert len(list(Verdicts.restore(site.store, site.signatory.storage))) == len({row.verdict for row in rows})
    site.close()
    assert findings(path) == []


def test_the_making_of_an_index_goes_on_where_it_was_left(indexed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(indexed, tmp_path / "jpn.sqlite"))
    db = apsw.Connection(str(path))
    ((ledger,),) = db.execute("SELECT id FROM ledger WHERE origin = 'signalfire/v1/JPN/decisions/1'")
    ((middle,),) = db.execute("SELECT first FROM segment WHERE ledger = ? ORDER BY first LIMIT 1 OFFSET 2", (ledger,))
    db.execute("DELETE FROM decision WHERE idx >= ?", (middle,))
    db.execute("DELETE FROM decision_subject WHERE idx >= ?", (middle,))
    db.execute("INSERT INTO meta VALUES (?, ?)", (TO_INDEX, ledger.to_bytes(8) + middle.to_bytes(8)))
    db.close()

    site = Site("JPN", path)
    for commit in missing(site.store, site.signatory):
        site.store.commit(commit)
    site.close()
    assert findings(path) == []
