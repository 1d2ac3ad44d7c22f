"""What a gateway says of itself when it is asked (GetStatus): also while its store cannot be read.

What only the store knows (sizes with receipts and post-quantum lines, the number of reports) is then as it was when it
was last read, and an alarm says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from signalfire.v1 import c2_pb2, report_pb2

import gateway
from gateway.exchange.partners import Partners
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import WITNESS
from gateway.ledger.stores import CosignatureKind, StoreReader
from gateway.release.ranks import Rank
from gateway.release.recovery.wish import standing
from gateway.release.room import Room
from gateway.release.sequencer import Sequencer

SUSPENDED: Final = "suspended by our officers"
"""What is told as the problem of a partner to whom nothing is released, by order."""


def precedence_of(takes: Rank | None) -> report_pb2.Precedence.ValueType:
    """The lowest precedence that is taken, as the contract names it; UNSPECIFIED: none."""
    if takes is None:
        return report_pb2.PRECEDENCE_UNSPECIFIED
    return report_pb2.Precedence.Value(f"PRECEDENCE_{takes.name}")


@dataclass(slots=True)
class Status:
    """Tells the state of a gateway. Belongs to the event loop's thread."""

    node: str
    started: datetime
    now: Callable[[], datetime]
    sequencer: Sequencer
    partners: Partners
    room: Room
    reader: Callable[[], StoreReader]
    alarms: Callable[[], Iterable[str]]
    clock_problem: Callable[[], str]
    carried: Callable[[], Mapping[tuple[str, str], int]] = dict
    _reports: int = 0
    _wish: c2_pb2.Resubmit | None = None
    _ledgers: Sequence[c2_pb2.LedgerStatus] = field(default_factory=list)

    def tell(self) -> c2_pb2.GetStatusResponse:
        """The state as of now. What C2 systems are asked for is in it once they are asked (`gateway.c2.wishes`)."""
        sequencer = self.sequencer
        response = c2_pb2.GetStatusResponse(
            node=self.node,
            version=gateway.__version__,
            accepting=sequencer.takes is not None,
            reason=sequencer.reason,
            policy_digest=sequencer.rulebook.digest.hex(),
            posture=sequencer.rulebook.posture,
            clock_problem=self.clock_problem(),
            store_free_bytes=self.room.free_bytes or 0,
            lowest_precedence=precedence_of(sequencer.takes),
        )
        response.time.FromDatetime(self.now())
        response.start_time.FromDatetime(self.started)
        if sequencer.reason:
            response.alarms.append(sequencer.reason)
        try:
            self._read()
        except LedgerError as error:
            response.alarms.append(f"the store cannot be read, and what is told of it is as it last was: {error}")
        response.alarms.extend(self.alarms())
        response.reports_accepted = self._reports
        response.ledgers.extend(self._ledgers)
        if self._wish is not None and sequencer.rulebook.policy is not None:
            response.resubmit.CopyFrom(self._wish)
        self._tell_partners(response)
        for (one, other), tunnels in sorted(self.carried().items()):
            response.carried.add(one=one, other=other, tunnels=tunnels)
        return response

    def _tell_partners(self, response: c2_pb2.GetStatusResponse) -> None:
        suspended = self.sequencer.rulebook.suspended
        for node in self.partners:
            link = self.partners.links[node]
            partner = response.partners.add(
                node=node,
                following=link.heartbeat_at is not None,
                followed=any(link.followed.values()) or any(link.carried.values()),
                problem="; ".join(filter(None, (SUSPENDED if node in suspended else "", link.problem))),
                ways=link.heard_by,
            )
            if link.heartbeat_ns is not None:
                partner.last_heartbeat_time.FromNanoseconds(link.heartbeat_ns)
            if link.heartbeat_at is None:
                # What came before this start is not known: then it is silent at least since that.
                partner.silent_since.FromNanoseconds(link.heartbeat_ns or int(self.started.timestamp() * 1e9))
            if not link.answering:
                partner.unheard_since.FromNanoseconds(link.answered_ns or int(self.started.timestamp() * 1e9))
            partner.not_accepting = link.not_accepting
            if link.clock_offset_s is not None:
                partner.clock_offset_ms = link.clock_offset_s * 1000

    def _read(self) -> None:
        """Reads what only the store knows. Raises StoreError, and then all is as it was."""
        reader = self.reader()
        ledgers = []
        for row in reader.ledgers():
            # The own witness ledger has a receipt of every partner: that which covers least counts.
            shared = row.origin.lane == WITNESS and not row.replica
            signers = tuple(self.partners) if shared else (row.origin.recipient or self.node,)
            receipts = [reader.cosignature(row.id, CosignatureKind.RECEIPT, signer) for signer in signers]
            pq = reader.cosignature(row.id, CosignatureKind.PQ, row.origin.owner)
            ledgers.append(
                c2_pb2.LedgerStatus(
                    origin=str(row.origin),
                    size=row.size,
                    root=row.root,
                    receipt_size=min((0 if receipt is None else receipt.size for receipt in receipts), default=0),
                    pq_size=0 if pq is None else pq.size,
                    replica=row.replica,
                )
            )
        self._reports, self._ledgers, self._wish = reader.last_report(), ledgers, standing(reader)
