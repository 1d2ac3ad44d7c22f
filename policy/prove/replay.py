"""What a bundle does with one report, asked of the bundle itself. Needs no solver.

A counterexample counts only where this says so; and what is proved can be tried here on any number of reports.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy.bundle import Bundle
from policy.decide import own_level
from policy.decision import Circumstances, Decision, Outcome
from policy.errors import EvaluationError, NotReleasedError, ObligationError
from policy.invariants import Invariant
from policy.vocabulary import CONTENT, KIND_OF_ARM


def _had_everything(node: str, report_id: str) -> bool:
    """Of a partner that was released every report before, nothing is kept back as unknown to it."""
    return True


def released(
    bundle: Bundle, report: report_pb2.Report, partner: str, circumstances: Circumstances
) -> tuple[Decision, report_pb2.Report] | None:
    """The decision and the copy that goes; None where nothing does (now: what is held may go later)."""
    decision = bundle.decide(report, partner, circumstances)
    if decision.outcome is not Outcome.RELEASED:
        return None
    try:
        return decision, bundle.transform(report, decision, _had_everything)
    except (NotReleasedError, ObligationError):
        return None


def violated(
    bundle: Bundle, invariant: Invariant, report: report_pb2.Report, partner: str, circumstances: Circumstances
) -> Decision | None:
    """The decision by which a report violates an invariant; None where it does not."""
    kind = KIND_OF_ARM.get(report.WhichOneof(CONTENT) or "")
    concerned = (
        invariant.concerns(partner)
        and kind in invariant.kinds
        and report.traffic_class in map(int, invariant.traffic_classes)
        and circumstances.posture in invariant.postures
    )
    if not concerned or (sent := released(bundle, report, partner, circumstances)) is None:
        return None
    decision, copy = sent
    if invariant.fields and not any(holds_value(copy, path) for path in invariant.fields):
        return None
    if invariant.sent_classification_above is not None:
        level = own_level(copy.marking, bundle.node, bundle.equivalences)
        if level is not None and level <= invariant.sent_classification_above:
            return None
    kept = _kept(bundle, invariant, report, partner, circumstances.now, circumstances.posture)
    return None if kept else decision


def _kept(
    bundle: Bundle, invariant: Invariant, report: report_pb2.Report, partner: str, now: datetime, posture: str
) -> bool:
    if invariant.condition is None:
        return False
    try:
        return not invariant.condition.holds(bundle.partners[partner].language.facts(report, partner, now, posture))
    except EvaluationError:
        return False


def holds_value(message: Message, path: str) -> bool:
    """Whether there is a value at a leaf path; inside a list, in any element."""
    head, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[head]
    value = getattr(message, head)
    if field.is_repeated:
        return any(holds_value(element, rest) for element in value) if rest else bool(value)
    if rest:
        return message.HasField(head) and holds_value(value, rest)
    return message.HasField(head) if field.has_presence else bool(value)
