"""A report that its C2 system submits again, after this node's store was lost or set back: nothing is doubled.

Rules, in order:

1. To a partner that was released the report, as its own replica has shown, nothing is released again. The decision
   names the entry that stands.
2. A report that was recalled before the loss, as partners were told, does not stand: nobody else is given it.
3. A report that is known again without its content (`gateway.release.recovery.rebuilding`) is filled in. It is decided
   for those partners for whom nothing decided it, whose hold still stands, or who were withheld it only for want of its
   content. Subscribers of this node are given it, for it was lost with what they had been given.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import LedgerId, ReleasedRow
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.recovery.after_loss import ALWAYS
from gateway.release.recovery.rebuilding import describe_copy
from gateway.release.recovery.told_before import recalled_since
from gateway.release.sharing import Decided, Shared, record_of, share
from gateway.release.subject import Subject
from gateway.seal.entry import parse_header
from gateway.seal.errors import SealError
from policy.decision import BuiltIn, Outcome, withheld

GIVEN_BACK: Final = "(released before the store was lost)"
"""In place of the rule, where a release came back and what decided it did not."""

RECORDS_READ: Final = 256
"""Records about one report that are read to know what was decided."""


def share_or_stand(plan: Plan, shared: Shared, partner: str) -> tuple[ledger_pb2.Decision, Decided]:
    """As `share`, of a report that is accepted, arrives, or is decided again; what stands at the partner already is
    left as it is.
    """
    if not plan.was_set_back:
        # Nothing has ever come back: nothing of a report that is accepted now is there, and nothing of a hold's.
        return share(plan, shared, partner)
    row = plan.releases.to(shared.subject, partner)
    if row is not None:
        return standing(plan, row), Decided(partner, Outcome.RELEASED, failed=False)
    if recalled_since(plan, shared.subject) is not None:
        decision = withheld(partner, BuiltIn.RECALLED)
        return record_of(decision), Decided(partner, decision.outcome, failed=False)
    return share(plan, shared, partner)


def standing(plan: Plan, row: ReleasedRow) -> ledger_pb2.Decision:
    """The record of a release that came back."""
    origin = plan.ledgers.origin_of(row.ledger)
    decision = ledger_pb2.Decision(
        partner=row.partner, outcome=ledger_pb2.OUTCOME_RELEASED, rule=GIVEN_BACK, agreement=row.agreement,
        ledger=str(origin), index=row.index,
    )  # fmt: skip
    entry = plan.store.entry(row.ledger, row.index)
    if entry is None:
        return decision
    decision.entry_commitment = parse_header(entry).commitment
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    try:
        content = opener.content(origin, row.index, entry, lambda at: plan.store.entry(row.ledger, at) or b"")
    except SealError:
        return decision
    if content is not None:
        describe_copy(plan.signatory.node, content, decision)
    return decision


def decide_what_is_left(plan: Plan, shared: Shared) -> list[tuple[ledger_pb2.Decision, Decided]]:
    """Decides on a report that was known without its content, for the partners for whom that is still to be done."""
    if recalled_since(plan, shared.subject) is not None or plan.own_reports.was_recalled(shared.subject.report_id):
        return []
    before = decided_before(plan, shared.subject)
    held = plan.holds.partners(shared.subject)
    found = []
    for partner in plan.rulebook.partners:
        last = before.get(partner)
        if plan.releases.to(shared.subject, partner) is not None:
            continue
        if partner in held:
            plan.holds.end(shared.subject, partner)
        elif last is not None and not last.error:
            continue
        found.append(share(plan, shared, partner))
    return found


def decided_before(plan: Plan, subject: Subject) -> Mapping[str, ledger_pb2.Decision]:
    """The last decision on an own report that is on record, by partner."""
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    places = plan.store.decisions_of_report(subject.report_id, ALWAYS, RECORDS_READ, oldest_first=True)
    found: dict[str, ledger_pb2.Decision] = {}
    for place in places:
        origin = plan.ledgers.origin_of(place.ledger)
        entry = plan.store.entry(place.ledger, place.entry)
        if entry is None or origin.lane != DECISIONS:
            continue
        try:
            content = opener.content(origin, place.entry, entry, functools.partial(_entry, plan, place.ledger))
        except SealError:
            continue
        if content is not None and content.decision_record.originator_node in ("", plan.signatory.node):
            found.update((decision.partner, decision) for decision in content.decision_record.decisions)
    return found


def _entry(plan: Plan, ledger: LedgerId, index: int) -> bytes:
    return plan.store.entry(ledger, index) or b""
