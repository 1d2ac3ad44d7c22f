"""Stores with reports that went onward are found sound, and what is changed in their records is found."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.audit.verify import verify_store
from tests.audit.nations import NOW_S, nation, rotated
from tests.release.onward import USA_RULES, american, bring, passing, recall, told
from tests.release.world import RELEASE_ALL, MakeSite, Site, rules
from tests.reports.examples import launch_detection

BOTH = rules("USA", JPN=RELEASE_ALL, KOR=RELEASE_ALL)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of USA, JPN and KOR: a report that came to KOR by both ways, one by JPN alone, one of them withdrawn."""
    folder = tmp_path_factory.mktemp("onward")
    usa, jpn, kor = (Site(node, folder / f"{node}.sqlite") for node in ("USA", "JPN", "KOR"))
    jpn.rulebook = passing()
    usa.take(american(), BOTH)
    usa.take(american(launch_detection, 2), USA_RULES)
    for sender, recipient in ((usa, jpn), (jpn, kor), (usa, kor)):
        bring(sender, recipient)
    usa.take(recall(american(launch_detection, 2)))
    bring(usa, jpn)
    kor.now_ns += 1
    bring(jpn, kor)
    for site in (usa, jpn, kor):
        site.close()
    return folder


def findings(where: Path, node: str, tampering: str = "") -> list[str]:
    path = where / f"{node}.sqlite"
    changed = where / "changed.sqlite"
    for rest in ("", "-wal", "-shm"):
        changed.with_name(changed.name + rest).unlink(missing_ok=True)
    changed.write_bytes(path.read_bytes())
    if tampering:
        db = apsw.Connection(str(changed))
        db.execute(tampering)
        assert db.changes() > 0
        db.close()
    site = Site(node, changed)
    found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
    site.close()
    return found


@pytest.mark.parametrize("node", ["USA", "JPN", "KOR"])
def test_what_went_onward_is_found_sound(where: Path, node: str) -> None:
    assert findings(where, node) == []


@pytest.mark.parametrize(
    ("node", "tampering", "what"),
    [
        ("KOR", "UPDATE copy SET idx = idx + 1 WHERE via = 'JPN'", "received: what is on record"),
        ("KOR", "UPDATE copy SET withdrawn_ns = NULL WHERE withdrawn_ns IS NOT NULL", "received: what is on record"),
        ("KOR", "UPDATE copy SET withdrawn_ns = 5 WHERE withdrawn_ns IS NULL", "received: what is on record"),
        ("KOR", "UPDATE copy SET via = 'CAN' WHERE via = 'JPN'", "received: what is on record"),
        ("KOR", "UPDATE copy SET precedence = 1 WHERE via = 'JPN'", "received: what is on record"),
        ("KOR", "DELETE FROM copy WHERE via = 'USA'", "copies are on record"),
        ("KOR", "UPDATE received SET withdrawn_ns = 5 WHERE withdrawn_ns IS NULL", "received: what is on record"),
        (
            "KOR",
            "UPDATE feed SET originator = 'JPN' WHERE originator = 'USA' AND item = 1",
            "does not hold what it says",
        ),
        ("KOR", "DELETE FROM feed WHERE item = 2", "received: what is on record"),
        ("JPN", "UPDATE released SET originator = '' WHERE originator = 'USA'", "was released to KOR, and that is not"),
        ("JPN", "UPDATE released SET withdrawn_ns = 5 WHERE withdrawn_ns IS NULL", "whether it was withdrawn is wrong"),
        ("JPN", "DELETE FROM released WHERE originator = 'USA'", "was released to KOR, and that is not"),
    ],
)
def test_what_was_changed_in_the_records_of_it_is_found(where: Path, node: str, tampering: str, what: str) -> None:
    assert any(what in finding for finding in findings(where, node, tampering))


def test_what_was_passed_on_is_proved_again_with_the_keys_that_are_pinned(where: Path) -> None:
    site = Site("KOR", where / "KOR.sqlite")
    del site.partners["USA"]
    found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
    site.close()
    assert any("was passed on, and is not believed: its originator is not known here" in finding for finding in found)


# --- the originator's key is retired since


def brought(make_site: MakeSite) -> Site:
    """KOR with a report of USA that JPN passed on, which it received at NOW."""
    usa, jpn, kor = make_site("USA"), make_site("JPN"), make_site("KOR")
    jpn.rulebook = passing()
    usa.take(american(), USA_RULES)
    bring(usa, jpn)
    bring(jpn, kor)
    assert told(kor)
    return kor


@pytest.mark.parametrize(("until", "good"), [(NOW_S, True), (NOW_S + 86_400, True), (NOW_S - 1, False)])
def test_on_record_a_proof_under_a_retired_key_counts_where_this_nodes_own_receipt_is_from_before(
    make_site: MakeSite, until: int, good: bool
) -> None:
    kor = brought(make_site)
    partners = {**kor.partners, "USA": nation("USA", **rotated("USA", until))}
    found = [str(each) for each in verify_store(kor.store, kor.signatory, partners).findings]
    assert [each for each in found if "was passed on, and is not believed" not in each] == []
    assert (found == []) == good
    assert good or "no receipt of this node shows that it came before that" in found[0]
