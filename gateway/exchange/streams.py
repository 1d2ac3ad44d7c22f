"""Following a partner by one way: what keeps its streams open.

One stream a lane, one for the partner's witness ledger and one for heartbeats, each over a connection of its own: what
stops one lane, a refused batch or a full pipe, does not touch the others, and a backlog of tracks never stands before a
FLASH in the same socket. A lane that fails is dialled again after a pause that doubles up to a cap, with jitter; a
heartbeat that arrives shows that the way works and takes the pause away. A connection that is open and dead is noticed
by its heartbeats, or by HTTP/2 pings.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from gateway.cancellation import being_cancelled
from gateway.exchange.attempts import Backoff
from gateway.exchange.ending import shown
from gateway.exchange.following import FollowedLane
from gateway.exchange.listening import HEARTBEAT_LANE, Listener
from gateway.exchange.way import Way
from gateway.ledger.origin import WITNESS, Lane

LOST_REASON: Final = "Internal error from Core"
"""What gRPC says of a call whose reason it lost."""


async def follow(way: Way) -> None:
    """Follows every lane by one way, and listens to heartbeats, until cancelled."""
    lanes = (*(each.value for each in Lane), WITNESS)
    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(keep(way, lane, FollowedLane(way, lane).follow))
            group.create_task(keep(way, HEARTBEAT_LANE, Listener(way).listen))
    finally:
        way.link.ways.pop(way.name, None)
        for lane in (*lanes, HEARTBEAT_LANE):
            way.link.problems.pop(way.key(lane), None)


async def keep(way: Way, lane: str, serve: Callable[[], Awaitable[None]]) -> None:
    """Runs one stream again and again."""
    key = way.key(lane)
    limits = way.means.limits
    backoff = Backoff(limits.backoff_min_s, limits.backoff_max_s)
    while True:
        began, seen = way.means.monotonic(), way.link.bell.rings
        try:
            await serve()
            # It ended as it should, with a successor; even so it pauses, or a partner could keep it dialling.
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            # gRPC ended the call, not anybody this task: dial again.
        except Exception as error:  # whatever a partner's bundle or messages set off is its lane's problem alone
            problem = _words(error)
            if _says_nothing(error) and key in way.link.problems:
                # The library's own word for a connection that ended: the reason that was told before stands.
                problem = way.link.problems[key]
            way.trouble(key, problem, error)
        finally:
            way.link.following.discard(key)
            if lane == Lane.FLASH:
                way.alerts_open.clear()
        if being_cancelled():
            # gRPC may say that the call failed where it was this task that was asked to end, once.
            raise asyncio.CancelledError
        now = way.means.monotonic()
        if now - began > limits.silence_s:
            backoff.reset()
        # However often a partner makes itself heard, one stream is not dialled more often than this.
        await asyncio.sleep(min(began + limits.stagger_s / 2, now + limits.backoff_min_s) - now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff.pause_s()):
                await way.link.bell.wait(seen)
                backoff.reset()


def _says_nothing(error: Exception) -> bool:
    """Whether it is what gRPC says where it lost the reason: neither side's word."""
    return (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() is grpc.StatusCode.INTERNAL
        and error.details() == LOST_REASON
    )


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return shown(f"{error.code().name}: {error.details()}")
    return shown(str(error)) or type(error).__name__
