"""A recall reaches who had the report though another node carries it."""

from __future__ import annotations

from pathlib import Path

from gateway.client import Withdrawn
from tests.exchange.relaying import ENDS, VIA, allow, heard_by, relayed, three
from tests.faults.between import links
from tests.node.nations import cancellation, running
from tests.node.waiting import until


async def test_a_report_that_came_directly_is_withdrawn_by_what_another_node_carries(tmp_path: Path) -> None:
    places = three(tmp_path)
    with links(places, pairs={frozenset(ENDS)}) as between:
        async with running(places) as world:
            await allow(world)
            await relayed(world)
            directly = await world.carries("JPN", "KOR")
            for proxy in between.between(*ENDS):
                proxy.cut()
            await until(lambda: heard_by(world, "KOR", "JPN") == [VIA], "KOR hears JPN through USA alone")
            carried = await world.carries("JPN", "KOR")
            for each in (directly, carried):
                assert (await world.push_one("JPN", cancellation(each.report_id))).accepted
                await world.inboxes["KOR"].withdrawal(each.report_id)
            for proxy in between.between(*ENDS):
                proxy.heal()
            await until(lambda: "direct" in heard_by(world, "KOR", "JPN"), "KOR hears JPN directly again")
            await world.carries("JPN", "KOR")
            told = [item.report_id for item in world.inboxes["KOR"].items if isinstance(item, Withdrawn)]
            assert sorted(told) == sorted([directly.report_id, carried.report_id])
