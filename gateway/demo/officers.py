"""Officers of a deployment at work: orders signed with their own keys, and brought to their gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from signalfire.v1 import officer_pb2

from gateway.demo.deployment import Deployed
from gateway.demo.errors import DemoError
from gateway.identity.officer_keys import read_officer_key
from policy.approve import Order, SignedOrder, encode, read_orders, sign, write_orders
from policy.approve.order import Action

ORDER_LIFETIME: Final = timedelta(hours=1)
"""For which an order that is brought at once is good."""

PATIENCE_S: Final = 60.0
"""Seconds for which a gateway that does not answer is asked again: it may have been killed, and start."""

_PAUSE_S: Final = 0.2
_BRIEF_S: Final = 120.0
"""Seconds that a gateway may take to judge an order, proofs included, on a slow machine."""


async def bring(
    place: Deployed, action: Action, signers: Sequence[str], files: Mapping[str, bytes] | None = None
) -> Sequence[officer_pb2.OrderRefusal]:
    """Writes the order that does this next, has it signed, and brings it. Returns what stands against it.

    The caller lets one order of a nation follow the other. A gateway that goes away meanwhile is asked whether it has
    taken the order. An order that activates a policy is added to those which the gateway takes up when it starts.
    Raises DemoError, IdentityError or ClientError.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    status = await _status(place, deadline)
    now = datetime.now(UTC).replace(microsecond=0)
    order = SignedOrder(
        encode(Order(place.node, status.sequence + 1, status.last_order_digest, now, now + ORDER_LIFETIME, action))
    )
    for name in signers:
        key = read_officer_key(place.officer_key(name))
        order = sign(order, key.name, key.node, key.seed)
    refusals: Sequence[officer_pb2.OrderRefusal] = ()
    while True:
        try:
            refusals = (await place.officer().enact(order.message(), files, timeout_s=_BRIEF_S)).refusals
        except ConnectionError:
            if (await _status(place, deadline)).last_order_digest != order.digest:
                continue
        break
    if files and not refusals:
        orders = read_orders(str(place.order), place.order.read_bytes())
        place.order.write_bytes(write_orders([*orders, order]))
    return refusals


async def _status(place: Deployed, deadline: float) -> officer_pb2.GetPolicyStatusResponse:
    while True:
        try:
            return await place.officer().policy_status()
        except ConnectionError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError(
                    f"The gateway of {place.node} took no order for {PATIENCE_S:g} s: {error}",
                    where=str(place.directory / "gateway.log"),
                    mend="Read the end of its log.",
                ) from error
            await asyncio.sleep(_PAUSE_S)
