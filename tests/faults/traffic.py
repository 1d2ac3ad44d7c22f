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
    """The reports that a report withdraws."""
    return list(made.cancellation.report_ids) if made.HasField("cancellation") else []


class Sensors:
    """The sensors of one nation."""

    def __init__(self, node: str, nodes: Sequence[str], seed: int) -> None:
        self._node = node
        self._others = sorted(set(nodes) - {node})
        self._chance = random.Random(f"{seed} {node}")
        self._made = 0
        self._recalled: set[str] = set()

    def see(self, stands: Collection[str]) -> report_pb2.Report:
        """The next report, made now. `stands`: own reports that were accepted, of which some are recalled."""
        self._made += 1
        drawn = self._chance.random()
        changes: dict[str, object] = {}
        kind = Kind.TRACK
        if drawn < 0.2:
            kind = Kind.LAUNCH_DETECTION
        elif drawn < 0.5:
            changes["precedence"] = report_pb2.PRECEDENCE_ROUTINE
        elif drawn < 0.7:
            changes["precedence"] = report_pb2.PRECEDENCE_PRIORITY
        elif drawn < 0.77:
            changes |= {"traffic_class": report_pb2.TRAFFIC_CLASS_TEST, "threat__launch_area": f"{ALL}-test"}
        elif drawn < 0.84:
            changes |= {"threat__launch_country": "IRN", "threat__launch_area": f"{ALL}-elsewhere"}
        elif drawn < 0.91:
            partner = self._chance.choice(self._others)
            changes |= {"threat__launch_area": NOT_FOR + partner, "event_id": f"{MARKER}-{partner}-{self._made}"}
        elif drawn < 0.95:
            kind = Kind.IMPACT_PREDICTION
        else:
            gone = self._gone(stands)
            if gone:
                return self._report(Kind.CANCELLATION, cancellation__report_ids=[gone])
        return self._report(kind, **changes)

    def _gone(self, stands: Collection[str]) -> str:
        """A report to be recalled; empty: there is none. One that is held would be recalled before it goes."""
        known = sorted(set(stands) - self._recalled)
        if not known:
            return ""
        gone = self._chance.choice(known)
        self._recalled.add(gone)
        return gone

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
                **changes,
            },
        )
