"""Telling a cancelled call from a cancelled task, and work that ends together.

gRPC's asyncio calls raise CancelledError both when the task that waits is being cancelled and when somebody closed the
channel under the call. Only the first may end the task; the second is a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


def being_cancelled() -> bool:
    """Whether the current task itself was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def first_of(*work: Awaitable[object]) -> None:
    """Does all of it until the first ends, and ends the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # What is raised leads here, and from here to itself: it would keep all that its work held, e.g. a batch.
        del task, tasks
