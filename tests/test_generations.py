"""Which generations were opened is known outside of the store, and never goes back."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.generations import FILE, Generations, highest_of
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin

FLASH = [Origin.release("JPN", "KOR", "flash", number) for number in range(1, 12)]
ROUTINE = Origin.release("JPN", "KOR", "routine", 4)
WITNESS = Origin.witness("JPN", 2)


def test_of_each_line_the_highest_generation_is_known_and_a_lower_one_changes_nothing(tmp_path: Path) -> None:
    file = Generations(tmp_path / "store.db", "JPN")
    assert file.known() == ()
    file.keep([FLASH[0]])
    assert not (tmp_path / FILE).exists(), "of a first generation there is nothing to say"
    file.keep([FLASH[10], ROUTINE, FLASH[1]])
    file.keep([FLASH[2], WITNESS])
    again = Generations(tmp_path / "store.db", "JPN")
    assert set(again.known()) == {FLASH[10], ROUTINE, WITNESS}
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_what_another_node_wrote_there_stays_and_is_not_believed_of_this_one(tmp_path: Path) -> None:
    Generations(tmp_path / "one.db", "KOR").keep([Origin.witness("KOR", 7)])
    file = Generations(tmp_path / "other.db", "JPN")
    file.keep([WITNESS])
    assert file.known() == (WITNESS,)
    assert Generations(tmp_path / "one.db", "KOR").known() == (Origin.witness("KOR", 7),)


def test_a_file_that_does_not_read_is_left_as_it_is_and_nothing_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"signalfire/v1/JPN/witness/two\n")
    file = Generations(tmp_path / "store.db", "JPN")
    with pytest.raises(StoreError, match="does not read"):
        file.known()
    with caplog.at_level(logging.CRITICAL):
        file.keep([WITNESS])
    assert "not on record outside" in caplog.text
    assert (tmp_path / FILE).read_bytes() == b"signalfire/v1/JPN/witness/two\n"


def test_where_it_cannot_be_written_the_gateway_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        Generations(tmp_path / "gone" / "store.db", "JPN").keep([WITNESS])
    assert "not on record outside" in caplog.text


def test_the_highest_of_nothing_is_nothing() -> None:
    assert highest_of(()) == ()
