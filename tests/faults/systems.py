"""The C2 systems of invented nations: two that push and one that receives, each with what it keeps on its own disk.

They crash when they are told to: what is under way is dropped as it is, nothing is closed in order, and when they start
again they have what was on their disk, which is the journal of reports with the answers that came, and the last cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import CaughtUp, Client, ClientError, Received, Withdrawn
from gateway.demo.deployment import PUSHER, READER, Deployed
from tests.faults.books import Books
from tests.faults.invented import SECOND
from tests.faults.traffic import Sensors

CLASSES: Final = (
    report_pb2.TRAFFIC_CLASS_LIVE,
    report_pb2.TRAFFIC_CLASS_EXERCISE,
    report_pb2.TRAFFIC_CLASS_TEST,
)

AGAIN_S: Final = 0.2
"""Seconds after which a system that was refused as a whole tries again: its gateway may be coming back."""

READ_S: Final = 60.0
"""Seconds that reading everything again may take."""


class _System:
    """A process of a C2 system that runs, crashes and runs again."""

    def __init__(self, place: Deployed, books: Books, clock: Callable[[], float]) -> None:
        self.place = place
        self._books = books
        self._clock = clock
        self._running: asyncio.Task[None] | None = None
        self.refusals: list[str] = []
        """Calls that the gateway refused as a whole, in its words."""

    def start(self) -> None:
        """Starts it, with what is on its disk."""
        self._running = asyncio.create_task(self._run())

    async def crash(self) -> None:
        """It is gone at once."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def failed(self) -> BaseException | None:
        """What ended it by itself, if anything did."""
        running = self._running
        return running.exception() if running is not None and running.done() and not running.cancelled() else None

    def _client(self, name: str) -> Client:
        return self.place.client(name)

    async def _run(self) -> None:
        raise AssertionError("a system does something")


class _Submitter(_System):
    """One C2 system that pushes. Its journal holds every report before it is pushed, and every answer."""

    def __init__(
        self, place: Deployed, books: Books, clock: Callable[[], float], name: str, accepted: set[str]
    ) -> None:
        super().__init__(place, books, clock)
        self._name = name
        self._accepted = accepted
        self._journal: dict[str, report_pb2.Report] = {}
        self._open: dict[str, report_pb2.Report] = {}
        """Of the journal, what has no answer."""
        self._news = asyncio.Event()
        self._given: set[str] = set()
        """Of what is open, what was given to the client library."""
        self._wishes: set[int] = set()
        self.wishes: list[str] = []
        """Why the gateway asked for reports again."""

    def take(self, report: report_pb2.Report) -> None:
        """It has this to push, whether it runs or not."""
        self._journal[report.report_id] = self._open[report.report_id] = report
        self._news.set()

    def _submit_again(self, wish: c2_pb2.Resubmit) -> None:
        """The gateway has lost something: all that was answered before it said so goes again, once for each wish."""
        if wish.until.ToNanoseconds() in self._wishes:
            return
        self._wishes.add(wish.until.ToNanoseconds())
        self.wishes.append(wish.reason)
        self._books.asked.add(self.place.node)
        self._open = dict(self._journal)
        self._given.clear()
        self._news.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ClientError):
                async for result in self._client(self._name).submit(
                    self._unanswered(), in_flight=256, on_resubmit=self._submit_again
                ):
                    self._open.pop(result.report_id, None)
                    self._books.answered(self.place.node, result, self._clock())
                    if result.accepted:
                        self._accepted.add(result.report_id)
            await asyncio.sleep(AGAIN_S)

    async def _unanswered(self) -> AsyncIterator[report_pb2.Report]:
        self._given.clear()
        while True:
            self._news.clear()
            for report_id, report in list(self._open.items()):
                if report_id not in self._given:
                    self._given.add(report_id)
                    yield report
            await self._news.wait()


class Pusher:
    """Everything that pushes for one nation: two C2 systems, which share its sensors. Each may recall what the other
    pushed.
    """

    def __init__(self, place: Deployed, books: Books, clock: Callable[[], float], sensors: Sensors) -> None:
        self.place = place
        self._books = books
        self._clock = clock
        self._sensors = sensors
        self._accepted: set[str] = set()
        self._systems = [_Submitter(place, books, clock, name, self._accepted) for name in (PUSHER, SECOND)]
        self._turn = 0

    @property
    def wishes(self) -> list[str]:
        """Why the gateway asked for reports again."""
        return [wish for system in self._systems for wish in system.wishes]

    def start(self) -> None:
        """Starts both, with what is on their disks."""
        for system in self._systems:
            system.start()

    async def crash(self) -> None:
        """Both are gone at once."""
        for system in self._systems:
            await system.crash()

    def see(self) -> None:
        """The sensors see something, and one of the two has it to push."""
        report = self._sensors.see(self._accepted)
        self._books.push(self.place.node, report, self._clock())
        self._systems[self._turn].take(report)
        self._turn = (self._turn + 1) % len(self._systems)


class Reader(_System):
    """Receives. Its disk holds the cursor of what it has dealt with."""

    def __init__(self, place: Deployed, books: Books, clock: Callable[[], float]) -> None:
        super().__init__(place, books, clock)
        self._cursor = ""
        self.anew = 0
        """How often it had to begin without a cursor, since the gateway knows its own no more."""

    async def _run(self) -> None:
        while True:
            try:
                async for item in self._client(READER).subscribe(CLASSES, cursor=self._cursor):
                    if isinstance(item, Received):
                        self._books.deliver(self.place.node, self.anew, item, self._clock())
                    elif isinstance(item, Withdrawn):
                        self._books.recall(self.place.node, self.anew, item)
                    self._cursor = item.cursor
            except ClientError as error:
                self.refusals.append(str(error))
                if "INVALID_ARGUMENT" in str(error) and self._cursor:
                    self._cursor = ""
                    self.anew += 1
                    self._books.begin(self.place.node, self.anew)
            await asyncio.sleep(AGAIN_S)

    async def read_again(self) -> None:
        """Reads everything from the beginning, own reports among it, and has it judged too."""
        items: list[Received | Withdrawn] = []
        try:
            async with asyncio.timeout(READ_S):
                async for item in self._client(READER).subscribe(CLASSES, include_own=True, follow=False):
                    if not isinstance(item, CaughtUp):
                        items.append(item)
        except (ClientError, TimeoutError) as error:
            self._books.wrong.append(f"{self.place.node} could not read everything again: {error}")
            return
        self._books.read_again(self.place.node, items)
