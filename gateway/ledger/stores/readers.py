"""The connections by which one process reads its store, so that all of them can be let go of at once.

After a failure nothing may go on reading by what it has in memory, which need not be what is durable: every reader is
closed before the store is opened again, and none is opened until that is done.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from gateway.ledger.errors import StoreError, StoreInDoubt
from gateway.ledger.stores import StoreReader

log = logging.getLogger(__name__)


class Readers:
    """Belongs to the event loop's thread, but for `open`."""

    def __init__(self, open_reader: Callable[[], StoreReader]) -> None:
        self._open_reader = open_reader
        self._shared: StoreReader | None = None
        self._others: list[Callable[[], Awaitable[None]]] = []
        self._shut = False

    def shared(self) -> StoreReader:
        """The event loop's. Raises StoreError, StoreInDoubt while all are shut."""
        if self._shared is None:
            self._shared = self.open()
        return self._shared

    def open(self) -> StoreReader:
        """One for another thread, which closes it. Raises as `shared` does. May be called from any thread."""
        if self._shut:
            raise StoreInDoubt("the store is being opened again after a failure; try again")
        return self._open_reader()

    def on_shut(self, let_go: Callable[[], Awaitable[None]]) -> None:
        """Has `let_go` close the readers of another thread when all are to be shut."""
        self._others.append(let_go)

    async def shut(self) -> None:
        """Closes all of them. None is opened from here on, until `allow`."""
        self._shut = True
        self.close()
        for let_go in self._others:
            await let_go()

    def allow(self) -> None:
        """Readers may be opened again."""
        self._shut = False

    def close(self) -> None:
        """Closes the event loop's."""
        reader, self._shared = self._shared, None
        if reader is not None:
            try:
                reader.close()
            except StoreError as error:
                log.warning("closing what was read by: %s", error)
