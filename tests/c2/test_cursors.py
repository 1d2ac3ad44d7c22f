"""A cursor resumes after exactly what it was given with, or is refused; also on a store that was restored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.c2.feed import KEPT_RUNS, CursorError, Feed, Runs
from gateway.ledger.origin import Origin
from gateway.release.steps import RecordEvent
from gateway.release.watch import Watch
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
A, B, C = (letter * 8 for letter in (b"a", b"b", b"c"))


def started(site: Site, tag: bytes) -> Feed:
    """The feed as a gateway that starts on this store serves it."""
    runs = Runs.continued(site.store.meta("runs") or b"", tag, site.store.last_feed())
    site.do(RecordEvent("started", "a test", meta=(("runs", runs.encode()),)))
    return Feed(site.node, runs, lambda: site.store, Watch(), site.opener, site.signatory.storage)


@pytest.fixture
def jpn(tmp_path: Path) -> Iterator[Site]:
    site = Site("JPN", tmp_path / "jpn.sqlite")
    yield site
    site.close()


def grow(site: Site, *seeds: int) -> None:
    """So many reports more in the feed."""
    for seed in seeds:
        site.take(launch_detection(seed), rules(KOR=RELEASE_ALL))


def test_a_cursor_of_an_earlier_run_resumes_where_it_was_given(jpn: Site) -> None:
    started(jpn, A)
    grow(jpn, 1, 2)
    started(jpn, B)
    grow(jpn, 3)
    feed = started(jpn, C)
    for tag, number in ((A, 0), (A, 1), (A, 2), (B, 0), (B, 1), (B, 3), (C, 0), (C, 3)):
        assert feed.position(f"{tag.hex()}:{number}") == number
    assert feed.position("") == 0


def test_a_number_that_a_run_did_not_give_is_refused(jpn: Site) -> None:
    started(jpn, A)
    grow(jpn, 1, 2)
    feed = started(jpn, B)
    with pytest.raises(CursorError, match="has lost"):
        feed.position(f"{A.hex()}:3")
    with pytest.raises(CursorError, match="ahead"):
        feed.position(f"{B.hex()}:3")
    with pytest.raises(CursorError, match="no run"):
        feed.position(f"{C.hex()}:1")


def test_cursors_of_what_a_restored_store_lost_are_refused_however_far_it_has_grown_since(
    jpn: Site, tmp_path: Path
) -> None:
    started(jpn, A)
    grow(jpn, 1, 2)
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    grow(jpn, 3, 4)
    lost_in_the_same_run = f"{A.hex()}:{jpn.store.last_feed()}"
    started(jpn, B)
    lost_in_the_next = f"{B.hex()}:2"

    restored = Site("JPN", tmp_path / "copy.sqlite")
    feed = started(restored, C)
    grow(restored, 11, 12, 13, 14, 15)
    assert restored.store.last_feed() == 7
    with pytest.raises(CursorError, match="has lost"):
        feed.position(lost_in_the_same_run)
    with pytest.raises(CursorError, match="no run"):
        feed.position(lost_in_the_next)
    assert feed.position(f"{A.hex()}:2") == 2, "what was given before the copy was made still stands"
    restored.close()


def test_the_record_of_runs_is_read_as_it_was_written_and_stays_bounded() -> None:
    runs = Runs.continued(b"", A, 0)
    for number in range(KEPT_RUNS + 5):
        runs = Runs.continued(runs.encode(), number.to_bytes(8, "big"), number)
    assert len(runs.begun) == KEPT_RUNS
    assert runs.tag == (KEPT_RUNS + 4).to_bytes(8, "big").hex()
    assert runs.begun[-1] == (runs.tag, KEPT_RUNS + 5)
