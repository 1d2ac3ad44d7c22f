"""Orders that officers sign and bring to a running gateway, and what it decides then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from signalfire.v1 import ledger_pb2

from gateway.demo.deployment import Deployed
from gateway.identity.officer_keys import read_officer_key
from policy.approve import Order, SignedOrder, encode, sign
from policy.approve.order import Action
from tests.node.nations import World, report


def signed_by(place: Deployed, order: Order, *names: str) -> SignedOrder:
    """The order, signed by these officers of a deployment."""
    signed = SignedOrder(encode(order))
    for name in names:
        key = read_officer_key(place.officer_key(name))
        signed = sign(signed, key.name, key.node, key.seed)
    return signed


async def following(place: Deployed, action: Action) -> Order:
    """The next order after what is in force."""
    status = await place.officer().policy_status()
    now = datetime.now(UTC)
    return Order(place.node, status.sequence + 1, status.last_order_digest, now, now + timedelta(hours=1), action)


async def bring(place: Deployed, action: Action, *names: str, files: dict[str, bytes] | None = None) -> set[str]:
    """Brings the next order; why it was refused."""
    signed = signed_by(place, await following(place, action), *names)
    answer = await place.officer().enact(signed.message(), files)
    return {refusal.reason for refusal in answer.refusals}


async def decided(world: World) -> ledger_pb2.Decision:
    """The decision on a report that is pushed now, for KOR."""
    pushed = report(node="JPN")
    assert (await world.push_one("JPN", pushed)).accepted
    return (await world.decisions("JPN", pushed.report_id))["KOR"]
