"""Waits for what must come: a state of a gateway, or what one of its C2 systems receives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from signalfire.v1 import report_pb2

from gateway.client import CaughtUp, Client, Received, Withdrawn
from tests.patience import PATIENCE_S

EVERY_CLASS: Final = (
    report_pb2.TRAFFIC_CLASS_LIVE,
    report_pb2.TRAFFIC_CLASS_EXERCISE,
    report_pb2.TRAFFIC_CLASS_TEST,
)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Returns when `condition` holds; for states of a gateway that ring no bell to the outside."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            # What is awaited rings no bell to the outside.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


class Inbox:
    """Everything that one C2 system has received, in its order."""

    def __init__(self) -> None:
        self.items: list[Received | Withdrawn | CaughtUp] = []
        self._grown = asyncio.Condition()

    @property
    def reports(self) -> dict[str, Received]:
        """Reports by identifier."""
        return {item.report.report_id: item for item in self.items if isinstance(item, Received)}

    @property
    def withdrawn(self) -> list[str]:
        """Identifiers of the reports that were withdrawn."""
        return [item.report_id for item in self.items if isinstance(item, Withdrawn)]

    async def fill(self, client: Client) -> None:
        """Subscribes, without end."""
        async for item in client.subscribe(EVERY_CLASS):
            async with self._grown:
                self.items.append(item)
                self._grown.notify_all()

    async def holds(self, condition: Callable[[], bool], what: str) -> None:
        """Returns when `condition` holds of what was received."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._grown:
                await self._grown.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"did not come within {PATIENCE_S:g} s: {what}") from None

    async def report(self, report_id: str) -> Received:
        """That report, once it has come."""
        await self.holds(lambda: report_id in self.reports, f"report {report_id}")
        return self.reports[report_id]

    async def withdrawal(self, report_id: str) -> None:
        """Returns when the withdrawal of that report has come."""
        await self.holds(lambda: report_id in self.withdrawn, f"withdrawal of {report_id}")
