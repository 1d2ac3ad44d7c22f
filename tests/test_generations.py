"""Which generations were opened is known outside of the store, and never goes back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gateway.generations import FILE, Generations, highest_of
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin
from gateway.release.errors import Unavailable
from tests.faults.disk import CHANGING, Disk, Fault, What
from tests.faults.vfs import register_default
from tests.node.nations import World, forget, running, settle

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


def test_what_was_begun_is_told_apart_until_it_is_open_and_counts_as_known_all_the_while(tmp_path: Path) -> None:
    file = Generations(tmp_path / "store.db", "JPN")
    file.keep([FLASH[2]])
    file.begin([FLASH[3], WITNESS])
    assert set(file.opened()) == {FLASH[2]}
    assert set(file.begun()) == {FLASH[3], WITNESS}
    assert set(file.known()) == {FLASH[3], WITNESS}
    # Another opening of the same line is interrupted as well, and a third one is not.
    file.begin([FLASH[4]])
    file.keep([FLASH[2], WITNESS])
    assert (set(file.opened()), file.begun()) == ({FLASH[2], WITNESS}, (FLASH[4],))
    file.begin([FLASH[4]])
    file.keep([FLASH[4]])
    assert (set(file.opened()), file.begun()) == ({FLASH[4], WITNESS}, ())
    # What is open is not in doubt again.
    file.begin([FLASH[4], FLASH[1]])
    assert file.begun() == ()


def test_what_an_earlier_gateway_wrote_counts_as_open(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(f"{FLASH[3]}\n{WITNESS}\n")
    file = Generations(tmp_path / "store.db", "JPN")
    assert set(file.opened()) == {FLASH[3], WITNESS}
    assert file.begun() == ()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Under the stores of all gateways of this process."""
    made = Disk(volatile=False)
    end = register_default(made)
    yield made
    end()


async def told_at_a_start(world: World, caplog: pytest.LogCaptureFixture, *, restored: bool = False) -> list[str]:
    """What the gateway, started again on the store that is there, says of generations."""
    caplog.clear()
    with caplog.at_level(logging.CRITICAL, "gateway.node"):
        await world.start("JPN", restored=restored)
    await world.stop("JPN")
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    return [each for each in told if "the store knows" in each]


async def test_at_a_start_an_opening_that_was_interrupted_is_told_apart_from_a_restored_store(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Generations.begin

    def until_the_disk_is_full(generations: Generations, opening: Iterable[Origin]) -> None:
        begin(generations, opening)
        disk.arm(Fault(What.FULL, 1, CHANGING, "jpn/store.db-wal"))

    place = settle(tmp_path, "JPN")["JPN"]
    file, first = Generations(place.store, "JPN"), Origin.witness("JPN", 1)
    async with running({"JPN": place}) as world:
        await world.stop("JPN")
        with monkeypatch.context() as patched:
            patched.setattr(Generations, "begin", until_the_disk_is_full)
            with pytest.raises(Unavailable):
                await world.start("JPN", restored=True)
        disk.mend()
        assert WITNESS in file.begun()
        for _ in range(2):
            told = {each.split(" ")[0]: each for each in await told_at_a_start(world, caplog)}
            assert set(told) == {str(origin) for origin in file.begun()}
            assert told[str(WITNESS)].startswith(f"{WITNESS} was begun, and the store knows {first} at most")
            assert all("interrupted" in each for each in told.values())
            assert all("If the store was restored from a copy" in each for each in told.values()), "it may be that too"
        assert await told_at_a_start(world, caplog, restored=True) == []
        assert file.begun() == (), "the next opening is above it"
        assert Origin.witness("JPN", 3) in file.opened()


async def test_a_copy_from_before_an_opening_is_noticed_and_told_for_certain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = settle(tmp_path, "JPN")["JPN"]
    async with running({"JPN": place}) as world:
        await world.stop("JPN")
        copy = {path: path.read_bytes() for path in place.directory.glob("store.db*")}
        assert await told_at_a_start(world, caplog, restored=True) == []
        assert Generations(place.store, "JPN").begun() == ()
        assert await told_at_a_start(world, caplog) == []
        forget(place)
        for path, content in copy.items():
            path.touch(mode=0o600)
            path.write_bytes(content)
        told = await told_at_a_start(world, caplog)
        assert {each.split(" ")[0] for each in told} == {str(WITNESS), str(Origin.decisions("JPN", 2))}
        assert all("was opened once" in each and "--restored" in each for each in told)


def test_the_highest_of_nothing_is_nothing() -> None:
    assert highest_of(()) == ()
