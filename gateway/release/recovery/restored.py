"""What follows where it is known that this node's own ledgers were set back, before any partner shows it.

An operator says so (`signalfire serve --restored`), or the sequencer has found that the store it opened again lacks
what was durable. Rules, in order:

1. Each of the ledgers named ends, and its next generation opens in the same commit, so that alerts flow at once and
   nothing is signed in the old one that a partner may hold otherwise. With the witness ledger the decisions ledger
   ends, and the reverse.
2. Without names it is every own ledger: of those that the store does not know, the first generation. A ledger that
   begins under its first generation after the store was lost would contradict what its partner holds.
3. The store may not know the newest generation either. What ends is the highest that is known from anywhere: the store,
   the names, and what is told besides (`known`: a file beside the store, and what partners hold under this node's
   signature). All generations up to it have ended, and the one after it opens.
4. A ledger for a partner without keys in force is not opened, for nothing can be sealed to it: it is kept in mind
   (`waiting`) and set back when the keys are there. Until then that partner is told nothing, whatever keys it has: no
   plan takes it for one that can be told (`Plan.recipients`).
5. The event stands in the decisions ledger that goes on. C2 systems are asked to submit again
   (`gateway.release.recovery.wish`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.origin import DECISIONS, WITNESS, Lane, Origin
from gateway.release.plan import LATEST_TIME, Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.setback import end_decisions, final_state
from gateway.release.recovery.waiting_lines import WAITING, waiting_in
from gateway.release.recovery.wish import MARGIN_NS, wish_for
from gateway.release.succeeding import current_of, next_generation

EVENT: Final = "store-set-back"
"""Kind of the event."""


@dataclass(frozen=True, slots=True)
class DeclareSetBack:
    """Ends own ledgers and opens their next generations in one commit. `origins` None: all of them.

    `known` are generations that were opened although the store may not know them. `since_ns` is the time from which on
    reports may be lost; None: the newest time that the store knows.
    """

    why: str
    origins: tuple[Origin, ...] | None
    reason: ledger_pb2.SuccessionReason.ValueType
    since_ns: int | None = None
    known: tuple[Origin, ...] = ()
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> tuple[Origin, ...]:
        """Ends and opens. Returns the ledgers that go on."""
        node = plan.signatory.node
        told = (*(self.origins or ()), *(origin for origin in self.known if origin.owner == node))
        asked = (*_every_line(plan), *told) if self.origins is None else self.origins
        home = any(origin.recipient is None for origin in asked)
        lines = [_newest(plan, origin, told) for origin in asked if origin.recipient is not None]
        waiting = {origin for origin in lines if origin.recipient not in plan.recipients}
        going_on: list[Origin] = []
        words: list[str] = []
        if home:
            witness = _newest(plan, Origin.witness(node, 1), told)
            decisions = current_of(plan, Origin.decisions(node, 1))
            # The two have the same number from then on, so the one is told by the other.
            lost = max((each.generation for each in told if each.lane == DECISIONS), default=1)
            witness = max(witness, Origin.witness(node, lost), key=_number)
            stood = final_state(plan, decisions) if plan.ledgers.head(decisions) is not None else "0 entries"
            succeeded = next_generation(plan, witness, self.reason)
            following = end_decisions(plan, witness, self.reason)
            going_on += [succeeded.successor, following]
            words += [succeeded.words, f"{decisions} ended at {stood}; {following} goes on"]
        for origin in dict.fromkeys(lines):
            if origin in waiting or origin in plan.ledgers.ended:
                continue
            succeeded = next_generation(plan, origin, self.reason)
            going_on.append(succeeded.successor)
            words.append(succeeded.words)
        _keep_waiting(plan, (set(waiting_lines(plan)) | waiting) - set(plan.ledgers.ended))
        for number, detail in enumerate([self.why, *words]):
            plan.record_event(EVENT if number == 0 else "ledger-succeeded", detail)
        since_ns = self.since_ns
        if since_ns is None:
            since_ns = int.from_bytes(plan.store.meta(LATEST_TIME) or b"")
        wish_for(plan, max(0, since_ns - MARGIN_NS), self.why)
        return tuple(going_on)


@dataclass(frozen=True, slots=True)
class SetBackWaiting:
    """Sets back what had to wait for a partner's keys."""

    partner: str
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> tuple[Origin, ...]:
        """Ends and opens. Returns the ledgers that go on."""
        due = [origin for origin in waiting_lines(plan) if origin.recipient == self.partner]
        if not due or self.partner not in plan.partners:
            return ()
        plan.admit(self.partner)
        going_on = []
        for origin in due:
            # A partner may have shown meanwhile that it has ended; or the store knows an earlier generation alone.
            if current_of(plan, origin).generation <= origin.generation:
                succeeded = next_generation(plan, origin, ledger_pb2.SUCCESSION_REASON_RESTORE)
                plan.record_event("ledger-succeeded", succeeded.words)
                going_on.append(succeeded.successor)
        _keep_waiting(plan, set(waiting_lines(plan)) - set(due))
        return tuple(going_on)


def waiting_lines(plan: Plan) -> Sequence[Origin]:
    """The ledgers that wait for a partner's keys, this very plan included."""
    raw = plan.commit.meta.get(WAITING)
    return waiting_in(plan.store.meta(WAITING) if raw is None else raw)


def _keep_waiting(plan: Plan, waiting: set[Origin]) -> None:
    raw = "".join(f"{origin}\n" for origin in sorted(waiting, key=str)).encode()
    if raw != (plan.store.meta(WAITING) or b""):
        plan.commit.meta[WAITING] = raw


def _newest(plan: Plan, origin: Origin, told: Sequence[Origin]) -> Origin:
    """The newest generation of the line of `origin` that is known from anywhere."""
    line = [each for each in told if replace(each, generation=origin.generation) == origin]
    return max([current_of(plan, origin), *line], key=_number)


def _number(origin: Origin) -> int:
    return origin.generation


def _every_line(plan: Plan) -> tuple[Origin, ...]:
    """The newest generation of every own ledger that there is or may have been."""
    return tuple(_lines(plan))


def _lines(plan: Plan) -> Iterator[Origin]:
    node = plan.signatory.node
    for lane in (DECISIONS, WITNESS):
        yield plan.heads.current(node, None, lane)
    known = {head.origin.recipient for head in plan.heads if not head.replica}
    recipients = {*known, *plan.rulebook.partners, *plan.partners} - {None, node}
    for recipient in sorted(filter(None, recipients)):
        for lane in Lane:
            yield plan.heads.current(node, recipient, lane.value)
