"""Telling a cancelled call from a cancelled task.

gRPC's asyncio calls raise CancelledError both when the task that waits is being cancelled and when somebody closed the
channel under the call. Only the first may end the task; the second is a lost connection.
"""

from __future__ import annotations

import asyncio


def being_cancelled() -> bool:
    """Whether the current task itself was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
