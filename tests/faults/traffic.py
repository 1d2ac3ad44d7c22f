"""What the sensors of invented nations see: a stream of valid reports, drawn from a seed.

Some must stay at home, whole or for one partner, and every report holds texts that must: each of these begins with a
marker, so that a leak is found wherever it is.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Sequence
from typing import Final

from signalfire.v1 import report_pb2

from gateway.reports.kinds import Kind
from tests.faults.invented import MARKER, NOT_FOR
from tests.node.nations import report

ALL: Final = f"{MARKER}-ALL"
"""Marks what no partner may have."""


def markers(node: str) -> tuple[bytes, ...]:
    """What must never be found in anything that the partner `node` has."""
    return ALL.encode(), f"{MARKER}-{node}-".encode()


def recalled(made: report_pb2.Report) -> Sequence[str]:
    """The reports that a report withdraws by their names; an all-clear names none."""
    return list(made.correction.report_ids or made.cancellation.report_ids)


EVENT_REPORTS: Final = 7
"""Reports of an event, until the next one begins."""


class Sensors:
    """The sensors of one nation. What they see belongs to one event after another."""

    def __init__(self, node: str, nodes: Sequence[str], seed: int) -> None:
        self._node = node
        self._others = sorted(set(nodes) - {node})
        self._chance = random.Random(f"{seed} {node}")
        self._made = 0
        self._event = ""
        self._events: dict[str, list[str]] = {}
        """By event: everything about it. The last one goes on."""
        self._recallable: dict[str, None] = {}
        """LIVE detections and tracks in their order, and not recalled. A prediction is held for a while, and would be
        recalled before it goes."""

    def see(self, accepted: Collection[str]) -> report_pb2.Report:
        """The next report, made now. `accepted`: own reports that were accepted, of which some are recalled."""
        if self._made % EVENT_REPORTS == 0:
            self._event = f"{self._node}-{self._made // EVENT_REPORTS}"
            self._events[self._event] = []
        self._made += 1
        drawn = self._chance.random()
        changes: dict[str, object] = {}
        kind = Kind.TRACK
        if drawn < 0.2:
            kind = Kind.LAUNCH_DETECTION
        elif drawn < 0.45:
            changes["precedence"] = report_pb2.PRECEDENCE_ROUTINE
        elif drawn < 0.6:
            changes["precedence"] = report_pb2.PRECEDENCE_PRIORITY
        elif drawn < 0.66:
            changes |= {"traffic_class": report_pb2.TRAFFIC_CLASS_TEST, "threat__launch_area": f"{ALL}-test"}
        elif drawn < 0.7:
            changes["traffic_class"] = report_pb2.TRAFFIC_CLASS_EXERCISE
        elif drawn < 0.76:
            changes |= {"threat__launch_country": "IRN", "threat__launch_area": f"{ALL}-elsewhere"}
        elif drawn < 0.82:
            partner = self._chance.choice(self._others)
            changes |= {"threat__launch_area": NOT_FOR + partner, "event_id": f"{MARKER}-{partner}-{self._made}"}
        elif drawn < 0.87:
            kind = Kind.IMPACT_PREDICTION
        else:
            recall = self._recall(drawn, accepted)
            if recall is not None:
                return recall
        if kind is Kind.TRACK:
            changes |= self._reference(accepted)
        made = self._report(kind, **changes)
        if made.event_id in self._events:
            self._events[made.event_id].append(made.report_id)
        if made.traffic_class == report_pb2.TRAFFIC_CLASS_LIVE and kind is not Kind.IMPACT_PREDICTION:
            self._recallable[made.report_id] = None
        return made

    def _recall(self, drawn: float, accepted: Collection[str]) -> report_pb2.Report | None:
        """A cancellation, a correction or an all-clear; None: there is nothing to be recalled so."""
        if drawn < 0.92:
            gone = self._gone(accepted, 1)
            return self._report(Kind.CANCELLATION, cancellation__report_ids=gone) if gone else None
        if drawn < 0.96:
            gone = self._gone(accepted, self._chance.randint(1, 3))
            if not gone:
                return None
            right = next((each for each in reversed(self._recallable) if each in accepted), None)
            return self._report(
                Kind.CORRECTION, correction__report_ids=gone, correction__replacement_report_id=right
            )  # fmt: skip
        for event, made in self._events.items():
            # Only once all of it was accepted: what an all-clear recalls must not hang on what is on its way.
            if made and event != self._event and set(made) <= set(accepted):
                del self._events[event]
                for each in made:
                    self._recallable.pop(each, None)
                return self._report(Kind.ALL_CLEAR, event_id=event)
        return None

    def _gone(self, accepted: Collection[str], count: int) -> list[str]:
        """Reports to be recalled, as often as not the newest: their recall may overtake them."""
        known = [each for each in self._recallable if each in accepted]
        gone = known[-count:] if self._chance.random() < 0.5 else self._chance.sample(known, min(count, len(known)))
        for each in gone:
            del self._recallable[each]
        return gone

    def _reference(self, accepted: Collection[str]) -> dict[str, object]:
        """A track may refer to an earlier report of any kind, which the partner may not have."""
        known = sorted(accepted)
        if not known or self._chance.random() < 0.5:
            return {}
        return {
            "references__0__originator_node": self._node,
            "references__0__report_id": self._chance.choice(known),
        }

    def _report(self, kind: Kind, **changes: object) -> report_pb2.Report:
        identifier = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        return report(
            kind,
            self._node,
            **{
                "report_id": identifier,
                "originator_station": f"{ALL}/radar-{self._chance.randrange(3)}",
                "source_sequence": self._made,
                "marking__releasable_to": self._others,
                "event_id": self._event,
                **changes,
            },
        )
