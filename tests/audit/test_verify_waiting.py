"""What is held, and what a partner has still to be told of, is held against the decisions and the ledgers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from gateway.audit.verify import verify_store
from tests.release.test_pending import AT_ONCE, HOLD
from tests.release.test_pipeline import cancelling
from tests.release.world import Site, identifier
from tests.reports.examples import all_clear, launch_detection, track

RECALLED, STANDING, HELD = track(1), track(2, event_id="another"), launch_detection(3, event_id="a-third")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPN's store: a report that is held, and one that was recalled twice while its recipient was suspended."""
    path = tmp_path_factory.mktemp("waiting") / "jpn.sqlite"
    jpn = Site("JPN", path)
    jpn.take(RECALLED, AT_ONCE)
    jpn.take(STANDING)
    suspended = replace(AT_ONCE, suspended=frozenset({"KOR"}))
    jpn.take(cancelling(RECALLED), suspended)
    jpn.take(all_clear(8, event_id=RECALLED.event_id), suspended)
    jpn.take(HELD, HOLD)
    jpn.close()
    return path


def findings(path: Path) -> list[str]:
    site = Site("JPN", path)
    found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
    site.close()
    return found


def test_a_store_in_which_something_waits_is_sound(waiting: Path) -> None:
    assert findings(waiting) == []


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("DELETE FROM held", "is held for KOR"),
        ("UPDATE held SET due_ns = due_ns - 1", "is held for KOR"),
        (f"UPDATE held SET report_id = x'{identifier(STANDING).hex()}'", "is held for KOR"),
        ("DELETE FROM untold", "has still to be told"),
        (f"UPDATE untold SET report_id = x'{identifier(STANDING).hex()}'", "KOR has still to be told"),
        ("UPDATE untold SET partner = 'USA'", "USA has still to be told"),
    ],
)
def test_what_was_changed_of_what_waits_is_found(waiting: Path, tmp_path: Path, tampering: str, what: str) -> None:
    changed = Path(shutil.copy(waiting, tmp_path / "jpn.sqlite"))
    db = apsw.Connection(str(changed))
    db.execute(tampering)
    assert db.changes() > 0
    db.close()
    assert any(what in finding for finding in findings(changed)), findings(changed)
