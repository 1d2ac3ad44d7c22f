"""Why a partner was, or was not, given a report: the record, in words that an officer can pass on.

Everything is said as of the day of the decision, from what is on record; nothing is decided again.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.cli.audit_rows import outcome_of, precedence_of, time_text, traffic_class_of
from gateway.cli.visible import visible
from gateway.release.passing import WITHDRAWN, WITHDRAWN_HELD
from gateway.release.rulebook import NO_BUNDLE, NO_CLOCK, NO_POLICY
from policy.decision import BuiltIn

BUILT_IN: Final[Mapping[str, str]] = {
    BuiltIn.SUSPENDED: "Officers had suspended the partner: then nothing is released to it, whatever the policy says.",
    BuiltIn.NO_POLICY: "The policy has no file for the partner, and nothing is released that no rule releases.",
    BuiltIn.NOT_RELEASABLE: "The marking of the report does not name the partner in releasable_to.",
    BuiltIn.NOT_ONWARD: "Its originator did not name the partner in onward_release, so it may not be passed on to it.",
    BuiltIn.ORIGINATED_THERE: "The report is the partner's own: nothing goes back to its originator.",
    BuiltIn.POLICY_ERROR: "A rule that applies could not be evaluated; then nothing is released.",
    BuiltIn.NO_EQUIVALENT: "The report's classification has no equivalent in this node's own levels.",
    BuiltIn.AGREEMENT_LAPSED: "A rule would have released it, and its agreement was not in force at that time.",
    BuiltIn.ABOVE_CEILING: "A rule would have released it, and the report is classified above that rule's ceiling.",
    BuiltIn.NO_RULE: "No rule of the policy towards the partner releases such a report.",
    BuiltIn.REFERS_TO_NOTHING: "It recalls reports of which the partner was released none.",
    BuiltIn.RECALLED: "The report was recalled before its hold was over.",
    NO_CLOCK: "It was not known whether its agreement was in force, for the clock was not trusted.",
    NO_BUNDLE: "The partner's keys were not known, or had expired: nothing could be sealed to it.",
    NO_POLICY: "No policy was in force, or the orders on record were not believed: then everything is withheld.",
    WITHDRAWN: "Its originator withdrew the report, and whoever had been passed it was told so.",
    WITHDRAWN_HELD: "Its originator withdrew the report while it was held, so it never went.",
}
"""What the built-in reasons mean."""

WIDTH: Final = 110
"""Columns after which a list goes on in the next line."""

_INDENT: Final = "  "


def explanation(found: officer_pb2.ExplainDecisionResponse) -> Iterator[str]:
    """The lines of it. Nothing from the record acts on a terminal."""
    for remark in found.remarks:
        yield visible(f"Not all of the record can be read: {remark}.")
    if not found.records:
        return
    yield from _subject(found, _told_of(found))
    views = {view.partner: view for view in found.partners}
    for partner in sorted(views):
        yield ""
        yield from _partner(found, views[partner])
    yield ""
    yield from _policies(found.policies)


# --- the report


REBUILT = (
    "The record of that was lost with the store, and made again from a recovery record: what it does not say, such as"
    " the policy in force, is not known any more."
)
"""What is said of a report of which the records were rebuilt."""


def _told_of(found: officer_pb2.ExplainDecisionResponse) -> ledger_pb2.DecisionRecord:
    """The first record that knows the report's content: of a withdrawal it is not asked for."""
    records = [entry.decision_record for entry in found.records]
    return next((record for record in records if record.kind), records[0])


def _subject(found: officer_pb2.ExplainDecisionResponse, record: ledger_pb2.DecisionRecord) -> Iterator[str]:
    yield visible(f"{record.kind} {record.report_id} of {record.originator_node}")
    about = f"{traffic_class_of(record)}, {precedence_of(record)}, event {record.event_id}"
    yield visible(f"{_INDENT}{about}; brought by {record.submitted_by}, accepted {time_text(record.accepted_time)}")
    yield f"{_INDENT}SHA-256 of what was accepted: {record.report_digest.hex()}"
    if record.HasField("decided_time"):
        yield f"{_INDENT}Decided {time_text(record.decided_time)}. {REBUILT}"
    if found.HasField("report"):
        marking = found.report.marking
        level = report_pb2.Classification.Name(marking.classification).removeprefix("CLASSIFICATION_")
        to = ", ".join(marking.releasable_to) or "nobody"
        onward = f", onward to {', '.join(marking.onward_release)}" if marking.onward_release else ""
        caveats = f", caveats {', '.join(marking.caveats)}" if marking.caveats else ""
        yield visible(f"{_INDENT}marked {marking.policy} {level}, releasable to {to}{onward}{caveats}")
    else:
        yield visible(f"{_INDENT}Its content is not there: {found.report_missing}; what is below stands.")
    if found.HasField("withdrawn_time"):
        yield f"{_INDENT}It no longer stands, since {time_text(found.withdrawn_time)}."


# --- one partner


def _partner(found: officer_pb2.ExplainDecisionResponse, view: officer_pb2.PartnerView) -> Iterator[str]:
    partner = view.partner
    decided = [
        (entry, decision)
        for entry in found.records
        for decision in entry.decision_record.decisions
        if decision.partner == partner
    ]
    released = [decision for _, decision in decided if decision.outcome == ledger_pb2.OUTCOME_RELEASED]
    if not decided:
        return
    yield visible(f"{partner}: {_verdict(view, decided[-1][1])}")
    for entry, decision in decided:
        yield from _decision(found, entry, decision)
    if view.ledger:
        yield from _release(found, view, released[-1] if released else None)


def _verdict(view: officer_pb2.PartnerView, last: ledger_pb2.Decision) -> str:
    match last.outcome:
        case ledger_pb2.OUTCOME_HELD if last.rule == NO_CLOCK:
            return "held until the clock is trusted, and decided again then"
        case ledger_pb2.OUTCOME_HELD:
            return f"held until {time_text(last.hold_until)}, and decided again then"
        case _ if not view.ledger:
            return f"withheld by {last.rule}"
    if view.kept_back:
        return f"released, and kept back before it went: {view.kept_back}"
    if view.unopenable:
        told = f"; told at {time_text(view.withdrawn_time)} that it no longer stands"
        return f"sent, and it could not use it{told if view.HasField('withdrawn_time') else ''}"
    if view.HasField("withdrawn_time"):
        return f"given, and told at {time_text(view.withdrawn_time)} that it no longer stands"
    return "given" if view.HasField("receipt_time") else "released; no receipt of it has come yet"


def _decision(
    found: officer_pb2.ExplainDecisionResponse, entry: officer_pb2.RecordedEntry, decision: ledger_pb2.Decision
) -> Iterator[str]:
    record = entry.decision_record
    if decision.rule == WITHDRAWN:
        yield f"{_INDENT}told at {time_text(record.time)} that it no longer stands: its originator withdrew it"
        yield visible(f"{_INDENT * 2}entry {entry.index} of {entry.ledger}; posture {record.posture or 'none'}")
        return
    agreement = f", under the agreement {decision.agreement}" if decision.agreement else ""
    yield visible(f"{_INDENT}{outcome_of(decision)} at {time_text(record.time)} by {decision.rule}{agreement}")
    yield visible(f"{_INDENT * 2}entry {entry.index} of {entry.ledger}; posture {record.posture or 'none'}")
    if decision.rule in BUILT_IN:
        yield f"{_INDENT * 2}{BUILT_IN[decision.rule]}"
    if decision.error:
        yield visible(f"{_INDENT * 2}{decision.error}")
    if decision.rule == NO_CLOCK:
        yield f"{_INDENT * 2}held until it is"
    elif decision.HasField("hold_until"):
        yield f"{_INDENT * 2}held until {time_text(decision.hold_until)}"
    if decision.withdrawals:
        count = f"{decision.withdrawals} {'report' if decision.withdrawals == 1 else 'reports'}"
        yield f"{_INDENT * 2}because of it {decision.partner} is told that {count} it was given no longer stand"
    for text in _texts(found, record, decision):
        where = text.path if text.path.startswith("orders/") else f"{text.path}:{text.line}"
        yield visible(f"{_INDENT * 2}{where}")
        yield from (visible(f"{_INDENT * 3}{line}") for line in text.text.split("\n"))


def _texts(
    found: officer_pb2.ExplainDecisionResponse, record: ledger_pb2.DecisionRecord, decision: ledger_pb2.Decision
) -> Iterator[officer_pb2.RuleText]:
    """What decided, as it stands in the policy of that day: the rule, and the agreement that it cites."""
    for policy in found.policies:
        if policy.digest != record.policy_digest:
            continue
        for text in policy.rules:
            if text.rule == decision.rule and text.path == f"partners/{decision.partner}.yaml":
                yield text
            elif text.rule == decision.rule and text.path.startswith("orders/"):
                if f"suspends {decision.partner}:" in text.text:
                    yield text
            elif text.rule == decision.agreement and text.path == "policy.yaml":
                yield text


def _release(
    found: officer_pb2.ExplainDecisionResponse, view: officer_pb2.PartnerView, decision: ledger_pb2.Decision | None
) -> Iterator[str]:
    yield visible(f"{_INDENT}entry {view.index} of {view.ledger}")
    if view.HasField("receipt_time"):
        receipt = f"its receipt for {view.receipt_size} entries"
        yield f"{_INDENT}{view.partner} confirmed it at {time_text(view.receipt_time)}, by {receipt}"
    if view.unopenable:
        yield visible(f"{_INDENT}{view.partner} could not use it: {view.unopenable}")
    if not view.HasField("copy"):
        yield visible(f"{_INDENT}the copy is not there: {view.copy_missing}")
        if decision is not None and not view.kept_back:
            yield f"{_INDENT}what follows is the decision's own list"
            yield from _wrapped("went", decision.fields)
        return
    went = _values(view.copy)
    yield from _wrapped("was to go" if view.kept_back else "went", sorted(went))
    if found.HasField("report"):
        accepted = _values(found.report)
        yield from _wrapped("stayed", sorted(accepted.keys() - went.keys()))
        changed = [path for path in sorted(accepted.keys() & went.keys()) if accepted[path] != went[path]]
        for path in changed:
            yield visible(f"{_INDENT}changed: {path}: {_shown(accepted[path])} went as {_shown(went[path])}")


def _wrapped(what: str, paths: Iterable[str]) -> Iterator[str]:
    text = visible(f"{what}: {', '.join(paths) or 'nothing'}")
    deeper = _INDENT * 2
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=_INDENT, subsequent_indent=deeper, break_on_hyphens=False, break_long_words=False
    )


def _values(message: Message, prefix: str = "") -> dict[str, list[str]]:
    """What a report says, by path: the values that stand there, in order, as JSON."""
    found: dict[str, list[str]] = {}
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        for each in value if _repeated(field) else [value]:
            if field.message_type is None or field.message_type.full_name.startswith("google."):
                found.setdefault(path, []).append(_json(field, each))
            else:
                for inner, values in _values(each, f"{path}.").items():
                    found.setdefault(inner, []).extend(values)
    return found


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _json(field: FieldDescriptor, value: Any) -> str:
    if isinstance(value, Message):
        return str(json.loads(json_format.MessageToJson(value)))
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return str(field.enum_type.values_by_number[value].name)
    return str(value)


def _shown(values: Sequence[str]) -> str:
    return ", ".join(values)


# --- by whose word


def _policies(policies: Sequence[officer_pb2.PolicyOfRecord]) -> Iterator[str]:
    for policy in policies:
        digest = policy.digest.hex() or "none"
        if policy.order_sequence:
            signed = " and ".join(policy.officers)
            by = (
                f"in force by order {policy.order_sequence}, signed by {signed}, since {time_text(policy.enacted_time)}"
            )
        else:
            by = "no order on record had put it in force"
        yield visible(f"Policy {digest}: {by}")
