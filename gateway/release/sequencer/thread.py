"""The one thread in which commits are filled and written, and the store is opened."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class SequencerThread:
    """One thread, so that the store's connection and the heads have one owner."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="sequencer")

    def begin(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Has the thread begin at once, and not only when the event loop has its next turn."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def end(self) -> None:
        """Returns once it has done all that was begun."""
        self._pool.shutdown()
