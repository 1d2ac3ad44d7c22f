"""What one subscription gave, from its beginning on, and whether that can be so by itself. Pure.

1. What stands in one lane of an originator comes in the order of that lane: an older generation before a newer one, and
   in each by rising index. It came in the lane of its precedence, from its originator to this node.
2. What was withdrawn is not delivered as standing later: nobody here passes on what others originated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.client import Picture, Received, Withdrawn
from gateway.ledger.origin import Origin
from gateway.release.sharing import LANES


@dataclass(slots=True)
class Stream:
    """A subscription of `node` that began without a cursor, over every connection that took it up again."""

    node: str
    items: list[Received | Withdrawn] = field(default_factory=list)
    picture: Picture = field(default_factory=Picture)
    """What stands, as the client library tells it."""

    def take(self, item: Received | Withdrawn) -> None:
        """Takes the next item."""
        self.items.append(item)
        self.picture.take(item)

    @property
    def received(self) -> list[Received]:
        """The reports, in their order."""
        return [item for item in self.items if isinstance(item, Received)]

    @property
    def withdrawn(self) -> list[Withdrawn]:
        """The withdrawals, in their order."""
        return [item for item in self.items if isinstance(item, Withdrawn)]

    def faults(self) -> Iterator[str]:
        """What breaks a rule, in words."""
        last: dict[str, tuple[int, int]] = {}
        gone: set[tuple[str, str]] = set()
        for item in self.items:
            if isinstance(item, Withdrawn):
                gone.add((item.originator_node, item.report_id))
                continue
            report = item.report
            what = f"{self.node} received {report.report_id} of {report.originator_node}"
            if (report.originator_node, report.report_id) in gone and not item.withdrawn:
                yield f"order: {what} as standing after its withdrawal"
            if report.originator_node == self.node:
                if item.ledger or item.received_from != self.node:
                    yield f"order: {what}, its own, from {item.received_from} in {item.ledger or 'no ledger'}"
                continue
            line, _, generation = item.ledger.rpartition("/")
            lane = str(Origin(report.originator_node, self.node, LANES[report.precedence], 1)).rpartition("/")[0]
            if line != lane or item.received_from != report.originator_node:
                yield f"order: {what} from {item.received_from} in {item.ledger or 'no ledger'}"
                continue
            place = int(generation), item.index
            if place <= last.get(line, (0, -1)):
                yield f"order: {what} at {place} of {line} after {last[line]}"
            last[line] = place
