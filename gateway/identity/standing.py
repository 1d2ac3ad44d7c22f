"""Calls that last: who was admitted when a stream opened must still be believed while it goes on.

Rules, in order, every `RECHECK_S` seconds of a stream:

1. The authorities are read anew. Ones that cannot be read never replace those that could: that is logged, and the
   previous ones stay in use, as they do in the listener (`tls`).
2. The caller's certificate is judged as at the call's beginning (`tls.peer_from_context`), at the time that it is now.
3. Once it is believed no more, the stream ends, also where it waits for something to send. Where it is in the middle
   of sending, to one who does not read, it ends no sooner than that does: so whatever takes something of the caller
   meanwhile asks for itself (`Standing.ask`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final, TypeVar

from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role
from gateway.identity.tls import peer_from_context

T = TypeVar("T")

RECHECK_S: Final = 1.0
"""Seconds between two judgements of one stream: how long it may outlive a certificate or an authority. One reads the
files of the authorities; the certificate itself is verified again where something has changed (`peer`)."""

_log = logging.getLogger(__name__)


class Standing:
    """Judges the caller of one stream again and again. Raises IdentityError at once if no authorities can be read."""

    def __init__(
        self,
        auth_context: Mapping[str, Iterable[bytes]],
        authorities: Callable[[], Authorities],
        *,
        allowed_roles: Collection[Role],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._judged = monotonic()
        self._ended: Exception | None = None
        self._auth_context = auth_context
        self._read = authorities
        self._authorities = authorities()
        self._unreadable = ""
        self._roles = allowed_roles
        self._now = now

    def judge(self) -> None:
        """Raises PeerError or SpiffeIdError where the caller is believed no more."""
        try:
            self._authorities = self._read()
        except (IdentityError, OSError) as unreadable:
            # Said once for each way of failing, for it is asked every second.
            if str(unreadable) != self._unreadable:
                _log.error("authorities cannot be read; open streams go by the previous ones: %s", unreadable)
            self._unreadable = str(unreadable)
        else:
            self._unreadable = ""
        try:
            peer_from_context(self._auth_context, self._authorities, allowed_roles=self._roles, now=self._now())
        except Exception as ended:
            self._ended = ended
            raise
        self._judged = self._monotonic()

    def ask(self) -> None:
        """Raises as `judge` did or does; for those who ask often, for it judges once in RECHECK_S. Who was believed no
        more once never is again.
        """
        if self._ended is not None:
            raise self._ended
        if self._monotonic() - self._judged >= RECHECK_S:
            self.judge()


async def while_believed(
    items: AsyncGenerator[T, None], judge: Callable[[], None], every_s: float = RECHECK_S
) -> AsyncGenerator[T, None]:
    """Gives `items` until `judge`, asked every `every_s` seconds, raises; then that is raised. Closes `items`."""
    loop = asyncio.get_running_loop()
    wait: asyncio.Timeout | None = None

    async def watch() -> None:
        while True:
            await asyncio.sleep(every_s)
            judge()

    def cut_short(_: asyncio.Task[None]) -> None:
        if wait is not None:
            wait.reschedule(loop.time())

    watching = asyncio.create_task(watch())
    watching.add_done_callback(cut_short)
    try:
        async with aclosing(items):
            while not watching.done():
                try:
                    async with asyncio.timeout(None) as wait:
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not watching.done():
                        raise
                    break
                finally:
                    # Only a wait may be cut short, never the one who takes the items.
                    wait = None
                yield item
            watching.result()
    finally:
        watching.cancel()
