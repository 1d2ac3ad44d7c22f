"""Whatever the disk does, and whenever: nothing that was acknowledged is lost, nothing forks, and no key seals twice.

Each case is a course of commits (`tests.faults.commits`) in which one operation on the disk goes wrong. Which there are
is seen from a course in which none does. `--every-case` tries every one with every fault. Else every truncation and
deletion is tried, of the writes each nineteenth, and every sync with an error and with a crash: the two tests that try
errors share them out, and so do the two that try crashes.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import gateway.ledger.stores.sqlite.store
import gateway.seal.epoch
from tests.faults.commits import Course, Sealed
from tests.faults.disk import CHANGING, Disk, Fault, Op, What
from tests.faults.vfs import registered

NUMBER = itertools.count()
EACH = 19
"""Of the writes so many are passed over."""


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> Sealed:
    noted = Sealed()
    monkeypatch.setattr(gateway.seal.epoch, "AESGCMSIV", noted.cipher)
    # The log is folded after each commit or two, and not after a thousand pages. So what fails in that is tried too;
    # and the log then holds nothing by which a database of two states would be mended by chance.
    monkeypatch.setattr(gateway.ledger.stores.sqlite.store, "LOG_PAGES", 20)
    return noted


@contextlib.asynccontextmanager
async def course_on(directory: Path, disk: Disk, store: Path | None = None) -> AsyncIterator[Course]:
    with (
        registered(f"storage-{next(NUMBER)}", disk) as vfs,
        registered(f"sound-{next(NUMBER)}", Disk(volatile=False)) as sound,
    ):
        course = Course(directory, disk, vfs, sound, store)
        try:
            yield course
        finally:
            await course.vanish()


@dataclass(frozen=True)
class Undisturbed:
    """What a course does to the disk where nothing goes wrong: its operations in order, the last ones at its end."""

    operations: Sequence[Op]
    before_end: int


_SEEN: list[Undisturbed] = []


async def undisturbed() -> Undisturbed:
    """The same in every course up to the first fault, so it is seen once."""
    if not _SEEN:
        disk = Disk()
        disk.log = []
        with tempfile.TemporaryDirectory() as directory:
            async with course_on(Path(directory), disk) as course:
                await course.run()
                before_end = disk.operations
                await course.stop()
            course.verify()
        _SEEN.append(Undisturbed([op for op, _ in disk.log if op in CHANGING], before_end))
    return _SEEN[0]


async def tried(request: pytest.FixtureRequest, *kinds: Op, syncs: int | None = None) -> Sequence[tuple[int, Op]]:
    """The operations at which something is to go wrong, by number (1 is the first). `syncs`: of every two syncs the
    first (0) or the second (1); None: both.
    """
    numbered = [(number, op) for number, op in enumerate((await undisturbed()).operations, 1) if op in kinds]
    if request.config.getoption("--every-case"):
        return numbered
    taken = [each for each in numbered if each[1] is Op.SYNC][slice(syncs, None, None if syncs is None else 2)]
    taken += [(number, op) for number, op in numbered if op is Op.WRITE and number % EACH == 0]
    return sorted([*taken, *(each for each in numbered if each[1] not in (Op.SYNC, Op.WRITE))])


async def play(directory: Path, disk: Disk, *faults: Fault, cuts_power: bool, in_order: bool) -> Course:
    """A course in which these faults are met; it ends in order, or by a loss of power. Then the store is verified."""
    async with course_on(directory, disk) as course:
        disk.arm(*faults)
        course.cuts_power = cuts_power
        await course.run()
        if in_order:
            await course.stop()
        else:
            disk.power_cut(course.refusals)
        assert disk.met.keys() == {fault.what for fault in faults}, "a fault was not met"
    disk.mend()
    if disk.lost_power:
        disk.power_on()
    elif disk.off:
        disk.start()
    # What is found by whoever starts the gateway again.
    async with course_on(directory / "again", disk, directory / "jpn.db") as again:
        await again.start()
        await again.stop()
    course.verify()
    return course


async def try_all(
    path: Path, cases: Sequence[tuple[int, Op]], what: What, sealed: Sealed, *, times: int = 1, cuts_power: bool = False
) -> None:
    """A course for each case, each on a disk of its own: every second one forgets what it could not sync, and every
    third ends in order, the others by a loss of power.
    """
    assert cases
    last = (await undisturbed()).before_end
    for number, op in cases:
        directory = path / str(number)
        (directory / "again").mkdir(parents=True)
        disk = Disk(number, forgets=number % 2 == 0)
        in_order = number > last or number % 3 == 0
        try:
            course = await play(
                directory, disk, Fault(what, number, times=times), cuts_power=cuts_power, in_order=in_order
            )
            assert course.refusals >= 1 or number > last
            assert sealed.twice == []
        except Exception as error:
            raise AssertionError(f"{what} at operation {number} ({op}), {times} times: {error!r}") from error


async def test_an_error_of_the_disk_at_any_operation_is_recovered_from_without_a_restart(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest
) -> None:
    await try_all(tmp_path, await tried(request, *CHANGING, syncs=0), What.IO_ERROR, sealed)


async def test_what_is_shown_after_an_error_of_the_disk_survives_a_loss_of_power(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest
) -> None:
    await try_all(tmp_path, await tried(request, Op.SYNC, Op.WRITE, syncs=1), What.IO_ERROR, sealed, cuts_power=True)


async def test_a_disk_that_is_full_from_any_write_on_is_waited_for(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest
) -> None:
    await try_all(tmp_path, await tried(request, Op.WRITE), What.FULL, sealed, times=0)


async def test_a_loss_of_power_at_any_operation_loses_nothing_that_was_acknowledged(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest
) -> None:
    await try_all(tmp_path, await tried(request, *CHANGING, syncs=0), What.POWER, sealed)


async def test_a_process_that_ends_at_any_operation_loses_nothing_even_if_power_fails_afterwards(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest
) -> None:
    await try_all(tmp_path, await tried(request, *CHANGING, syncs=1), What.STOP, sealed, cuts_power=True)


@pytest.mark.parametrize("first", [What.IO_ERROR, What.STOP])
async def test_a_loss_of_power_at_any_operation_by_which_a_store_is_taken_up_again_loses_nothing(
    tmp_path: Path, sealed: Sealed, request: pytest.FixtureRequest, first: What
) -> None:
    every = request.config.getoption("--every-case")
    syncs = [number for number, op in await tried(request, Op.SYNC) if number < (await undisturbed()).before_end]
    for number in syncs if every else syncs[-8::4]:
        for later in range(1, 40, 1 if every else 3):
            directory = tmp_path / f"{number}-{later}"
            (directory / "again").mkdir(parents=True)
            disk = Disk(100 * number + later, forgets=later % 4 == 1)
            faults = Fault(first, number), Fault(What.POWER, number + later)
            try:
                await play(directory, disk, *faults, cuts_power=False, in_order=False)
                assert sealed.twice == []
            except Exception as error:
                raise AssertionError(f"{first} at sync {number}, power lost {later} later: {error!r}") from error
