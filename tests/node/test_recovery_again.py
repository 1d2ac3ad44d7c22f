"""A store that is lost more than once, or that knows less than partners hold: no generation is opened twice, what is
missing is told, and nobody ends the asking without the recovery key.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.cli.connecting import PARTLY
from gateway.client import ClientError
from gateway.demo.deployment import Deployed
from gateway.generations import FILE
from gateway.release.recovery.lost import META
from tests.node.nations import forget, running, settle
from tests.node.test_recovery import FLASH, alert, deliveries, lose, recover, taken_back
from tests.node.test_rotation import sound
from tests.node.waiting import until

SECOND, THIRD = FLASH.successor(), FLASH.successor().successor()


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR")


async def test_a_second_loss_opens_what_no_partner_holds_though_the_partner_is_away(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        await lose(world)
        await world.linked()
        before = await world.carries("JPN", "KOR")
        assert world.inboxes["KOR"].reports[before.report_id].ledger == str(SECOND)
        await world.stop("KOR")
        await lose(world)
        during = alert()
        assert (await world.push_one("JPN", during)).accepted
        await world.start("KOR")
        await world.linked()
        await world.inboxes["KOR"].report(during.report_id)
        assert world.inboxes["KOR"].reports[during.report_id].ledger == str(THIRD)
        await taken_back(world, SECOND)
        alarms = (await places["KOR"].client("command").status()).alarms
        assert not [alarm for alarm in alarms if "contradicted" in alarm], "nobody forked"
    sound(places["JPN"])
    sound(places["KOR"])


async def test_where_the_disk_is_lost_partners_show_at_the_start_which_generations_there_were(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        await lose(world)
        await world.linked()
        before = await world.carries("JPN", "KOR")
        await world.stop("JPN")
        forget(places["JPN"])
        (places["JPN"].store.parent / FILE).unlink()
        await world.start("JPN", restored=True)
        after = await world.carries("JPN", "KOR")
        assert world.inboxes["KOR"].reports[after.report_id].ledger == str(THIRD)
        await taken_back(world, SECOND)
        assert deliveries(world) == {before.report_id: 1, after.report_id: 1}
    sound(places["JPN"])
    sound(places["KOR"])


async def test_an_officers_certificate_alone_does_not_keep_c2_systems_from_being_asked(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        await lose(world)
        officer = places["JPN"].officer()
        with pytest.raises(ClientError, match="recovery key"):
            [each async for each in officer.recover([], finished=True)]
        assert (await places["JPN"].client("command").status()).HasField("resubmit")
        done = await recover(world, "--finished")
        assert done.exit_code in (0, PARTLY), done.output
        assert not (await places["JPN"].client("command").status()).HasField("resubmit")


async def test_a_copy_that_was_written_to_past_the_loss_tells_of_the_decisions_that_were_lost(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    async with running(places) as world:
        await world.stop("JPN")
        shutil.copy(places["JPN"].store, tmp_path / "copy.db")
        await world.start("JPN")
        await world.push("JPN", *[alert(marking__releasable_to=[]) for _ in range(5)])
        # A further start makes a beat that tells of them.
        await world.stop("JPN")
        await world.start("JPN")
        await world.linked()
        await world.stop("KOR")
        await world.stop("JPN")
        forget(places["JPN"])
        shutil.copy(tmp_path / "copy.db", places["JPN"].store)
        places["JPN"].store.chmod(0o600)
        await world.start("JPN")
        await world.push("JPN", *[alert(marking__releasable_to=[]) for _ in range(40)])
        await world.start("KOR")
        await world.linked()
        await until(lambda: bool(world.nodes["JPN"].parts.store.read().meta(META)), "what the last beat says is known")
        done = await recover(world)
        assert done.exit_code == PARTLY, done.output
        assert "decisions/1, of which no record tells" in done.output
