"""A crash may take what was on its way: it is given again when the partner resumes, with no new report to carry it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from signalfire.v1 import c2_pb2

from gateway.cli.demo import POLICIES
from gateway.demo.deployment import PUSHER, Deployed, Gateway, deploy
from tests.client.reports import fresh
from tests.patience import PATIENCE_S


async def up(gateways: dict[str, Gateway]) -> None:
    for gateway in gateways.values():
        gateway.start()
    for gateway in gateways.values():
        await gateway.ready(PATIENCE_S)


async def complete(place: Deployed, sizes: tuple[str, ...]) -> c2_pb2.LedgerStatus:
    """The ledger from Japan to the United States as `place` has it, once these sizes are those of its entries."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = await place.officer().status()
            for ledger in status.ledgers:
                if "/JPN/USA/" in ledger.origin and all(getattr(ledger, size) == ledger.size for size in sizes):
                    return ledger
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("node", "kind", "sizes"),
    [("JPN", "receipt", ("receipt_size",)), ("USA", "pq", ("pq_size",))],
    ids=["the recipient's receipt", "the origin's post-quantum line"],
)
async def test_what_was_lost_in_a_crash_is_given_again_when_the_partner_resumes(
    tmp_path: Path, node: str, kind: str, sizes: tuple[str, ...]
) -> None:
    places = deploy(
        tmp_path, {each: POLICIES / each.lower() for each in ("JPN", "USA")}, now=datetime.now(UTC), max_age_s=3600
    )
    gateways = {each: Gateway(place) for each, place in places.items()}
    try:
        await up(gateways)
        async for result in places["JPN"].client(PUSHER).submit([fresh(seed) for seed in range(5)]):
            assert result.accepted
        before = await complete(places["JPN"], ("receipt_size", "pq_size"))
        await complete(places["USA"], ("pq_size",))
        for gateway in gateways.values():
            gateway.stop()
        # As if the node had been killed between the other's commit and its own.
        store = apsw.Connection(str(places[node].store))
        store.execute(
            "DELETE FROM cosignature WHERE kind = ? AND ledger = (SELECT id FROM ledger WHERE origin = ?)",
            (kind, before.origin),
        )
        assert store.changes() > 0
        store.close()
        await up(gateways)
        assert (await complete(places[node], sizes)).size == before.size
    finally:
        for gateway in gateways.values():
            gateway.stop()
