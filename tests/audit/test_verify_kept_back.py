"""What is kept back from a partner is held against what the decisions ledger says of it, and its reasons are signed."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from gateway.audit.verify import verify_store
from gateway.release.keeping import KeepBack
from gateway.release.succeeding import Succeed
from tests.release.test_keeping import LOST, SUSPENDED, TO_KOR, govern
from tests.release.test_pending import AT_ONCE
from tests.release.test_pipeline import cancelling
from tests.release.world import Site
from tests.reports.examples import launch_detection


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPN's store: entries that are kept back from KOR, a withdrawal among them, and a ledger that has ended."""
    path = tmp_path_factory.mktemp("keeping") / "jpn.sqlite"
    jpn = Site("JPN", path)
    jpn.take(launch_detection(1), AT_ONCE)
    jpn.take(cancelling(launch_detection(1)))
    govern(jpn, SUSPENDED)
    jpn.do(KeepBack(TO_KOR, jpn.run(TO_KOR)))
    jpn.do(Succeed(TO_KOR.successor(), LOST, b""))
    jpn.close()
    return path


def findings(path: Path) -> list[str]:
    site = Site("JPN", path)
    found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
    site.close()
    return found


def test_a_store_in_which_something_is_kept_back_is_sound(keeping: Path) -> None:
    assert findings(keeping) == []


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("DELETE FROM kept_back WHERE idx = 1", "whether entry 1 is kept back is wrong on record"),
        ("UPDATE kept_back SET idx = 99 WHERE idx = 1", "entry 99 is on record as kept back, and is not there"),
        ("UPDATE kept_back SET reason = 'so'", "the reason why entry 0 is kept back does not hold"),
        ("UPDATE kept_back SET note = (SELECT note FROM kept_back WHERE idx = 1)", "why entry 0 is kept back does not"),
        ("UPDATE kept_back SET note = x'00'", "the reason why entry 0 is kept back does not hold"),
        ("UPDATE ledger SET agreed = 1 WHERE agreed IS NOT NULL", "it ended with 1 entries confirmed"),
        ("UPDATE released SET withdrawn_ns = 1", "whether it was withdrawn is wrong on record"),
    ],
)
def test_what_was_changed_of_what_is_kept_back_is_found(
    keeping: Path, tmp_path: Path, tampering: str, what: str
) -> None:
    changed = Path(shutil.copy(keeping, tmp_path / "jpn.sqlite"))
    db = apsw.Connection(str(changed))
    db.execute(tampering)
    assert db.changes() > 0
    db.close()
    assert any(what in finding for finding in findings(changed)), findings(changed)
