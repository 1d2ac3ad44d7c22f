"""Checks the entries of a ledger: each opens, and holds what a ledger of its kind may hold.

1. An entry that this node pruned is one that the decisions ledger says was pruned, and whose report it was.
2. Every other entry of which there is more than a hash opens. One of a replica that does not is answered with this
   node's signed statement; what a partner could not use of an own ledger must still open here.
3. It holds what has a place in that ledger. A report that was passed on comes with a proof that holds.
4. Every beat of the own witness ledger opens, and is held against the ledgers to which it commits
   (`gateway.audit.witnessed`). A partner's is kept unread: it is sealed to the partner alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2

from gateway.audit.ledger_check import Examined
from gateway.ledger import bundle
from gateway.ledger.origin import DECISIONS, WITNESS
from gateway.ledger.stores import Run
from gateway.release.key_switch import KEYS_SWITCHED, read_switches
from gateway.release.onward import NotBelieved, verify_on_record
from gateway.release.witness import WitnessError
from gateway.release.witness import read as read_witnessed
from gateway.seal.epoch import content_of
from gateway.seal.errors import SealError


@dataclass(frozen=True, slots=True)
class EntryCheck:
    """The entries of one ledger. What they hold is noted in its records, to be compared across ledgers."""

    ledger: Examined

    def findings(self, run: Run, unopenable: Container[int]) -> Iterator[str]:
        """Everything that is wrong with the entries of a run; about those in `unopenable` there is a statement."""
        ledger, row = self.ledger, self.ledger.row
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
            if index in ledger.check.pruned and not ledger.records.note_gone(row, index):
                yield f"entry {index} is pruned, and no record says so"
            if not entry or (row.replica and index in unopenable):
                continue
            if row.origin.lane == WITNESS:
                yield from () if row.replica else self._witnessed(index, entry)
                continue
            try:
                content = ledger.records.opener.content(row.origin, index, entry, self._entry)
            except SealError as error:
                yield f"entry {index} does not open, and no statement says so: {error}"
                continue
            if content is not None:
                yield from self._note(index, entry, content)

    def _entry(self, index: int) -> bytes:
        return self.ledger.store.entry(self.ledger.row.id, index) or b""

    def _witnessed(self, index: int, entry: bytes) -> Iterator[str]:
        """An entry of the own witness ledger, held against the ledgers to which it commits."""
        origin = self.ledger.origin
        try:
            payload = self.ledger.records.opener.payload(origin, index, entry, self._entry)
            if payload is None:
                return
            if index == 1 and origin.generation > 1:
                content = ledger_pb2.EntryContent.FromString(content_of(payload))
                yield from self._note(index, entry, content)
                return
            witnessed = read_witnessed(self.ledger.node, payload)
        except (SealError, WitnessError, DecodeError) as error:
            yield f"entry {index} does not open, or is no beat: {error}"
            return
        yield from self.ledger.witness.note(index, witnessed)

    def _note(self, index: int, entry: bytes, content: ledger_pb2.EntryContent) -> Iterator[str]:
        try:
            yield from self._note_content(index, entry, content)
        except ValueError as error:
            yield f"entry {index}: {error}"

    def _note_content(self, index: int, entry: bytes, content: ledger_pb2.EntryContent) -> Iterator[str]:
        row, check, records = self.ledger.row, self.ledger.check, self.ledger.records
        home = row.origin.recipient is None
        match content.WhichOneof("content"):
            case "report" if not home:
                check.reports += 1
                yield from records.note_report(row, index, entry, content.report)
            case "onward_report" if not home:
                check.reports += 1
                yield from records.note_report(row, index, entry, content.onward_report.report)
                if row.replica:
                    yield from self._believed(index, content.onward_report)
            case "withdrawal" if not home:
                check.withdrawals += 1
                records.note_withdrawal(row, index, content.withdrawal)
            case "decision_record" if row.origin.lane == DECISIONS:
                self.ledger.witness.note_decisions(row.origin, index, content.decision_record)
                records.note_decisions(row, index, content.decision_record)
            case "cover" | "sealed_recovery" if not home:
                return
            case "succession" if not home or (index == 1 and row.origin.generation > 1):
                if index == 1 and not (home or row.replica):
                    records.agreed[row.origin] = content.succession.agreed_size
            case "node_event" if row.origin.lane == DECISIONS:
                self.ledger.witness.note_event(row.origin, index, content.node_event)
                records.note_event(row, index, content.node_event)
                if content.node_event.kind == KEYS_SWITCHED:
                    switches = read_switches(content.node_event.evidence)
                    self.ledger.keys[self.ledger.node].learn(switches, content.node_event.time.seconds)
            case other:
                yield f"entry {index} holds {other or 'nothing'}, which has no place in this ledger"

    def _believed(self, index: int, onward: ledger_pb2.OnwardReport) -> Iterator[str]:
        """Whether what a partner passed on is its originator's, by the keys that are pinned now."""
        ledger = self.ledger
        try:
            until = verify_on_record(onward, carrier=ledger.origin.owner, node=ledger.node, partners=ledger.partners)
        except NotBelieved as error:
            yield f"entry {index} was passed on, and is not believed: {error} {error.detail}".rstrip()
        else:
            if until is not None:
                # By a key that is retired: the receipts that may cover it come later.
                ledger.records.rows.add("proven", None, ledger.row.id, index, onward.report.originator_node, until)
