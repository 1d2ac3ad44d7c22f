"""The copy that goes to a partner, and what it may refer to. Pure: no I/O.

``transform`` gives a new report. Rules, in order:

1. Fields that the schema in use does not define are dropped from the copy first, at every depth.
2. References to reports that the partner does not have are dropped, and so are the identifiers in a correction or
   cancellation, and the identifier of a replacement. The partner has what it was released and what it originated.
3. Of every field that the schema *does* define, those that the decision does not name are cleared. The list of what
   to clear is worked out from the descriptor in use as "all but the named", so a field that is added to the schema is
   on it until a policy names the field: the decision is an allow-list, though the work is done by clearing.
   Rules 1 and 3 together leave no field that is not named.
4. A message inside the report that is not named in full, and of which nothing is left, is dropped, singular or
   repeated; but which kind of report it is stays visible, as an empty content.
5. What is left is coarsened and marked anew as the decision's obligations say (``obligations``), and a derivation
   names what was. That comes last, so that nothing comes back which was cleared, and nothing which was cleared shows
   in what is worked out from the rest.

Clearing a copy is what makes it cheap: the copy is one call into the protobuf library, and the list of what to clear
is worked out once for every list of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy import obligations
from policy.decision import RELEASED, BuiltIn, Decision, Outcome
from policy.errors import NotReleasedError
from policy.fields import message_inside
from policy.vocabulary import CONTENT

WasReleased = Callable[[str, str], bool]
"""Whether the partner was released the report with this originator node and report identifier."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """What to clear of one message.

    ``fields`` wholly; of the messages in ``inside`` and of each element of those in ``repeated``, what their own
    clearing says; and likewise of the one of ``contents`` that is set, which itself stays. Messages of which nothing
    is to be cleared are not in it.
    """

    fields: tuple[str, ...]
    inside: tuple[tuple[str, Clearing], ...]
    repeated: tuple[tuple[str, Clearing], ...]
    contents: dict[str, Clearing]


_NOTHING: Final = Clearing((), (), (), {})


def clearing(message: Descriptor, named: Collection[str], prefix: str = "") -> Clearing:
    """Works out what to clear of a message so that only the named leaf paths are left."""
    fields: list[str] = []
    inside: list[tuple[str, Clearing]] = []
    repeated: list[tuple[str, Clearing]] = []
    contents: dict[str, Clearing] = {}
    for field in message.fields:
        path = prefix + field.name
        within = message_inside(field)
        is_content = not prefix and field.containing_oneof is not None and field.containing_oneof.name == CONTENT
        if within is None:
            if path not in named:
                fields.append(field.name)
        elif is_content:
            if (inner := clearing(within, named, path + ".")) != _NOTHING:
                contents[field.name] = inner
        elif not any(name.startswith(path + ".") for name in named):
            fields.append(field.name)
        elif (inner := clearing(within, named, path + ".")) != _NOTHING:
            (repeated if field.is_repeated else inside).append((field.name, inner))
    return Clearing(tuple(fields), tuple(inside), tuple(repeated), contents)


def _clear(message: Message, plan: Clearing) -> None:
    for name in plan.fields:
        message.ClearField(name)
    for name, inner in plan.inside:
        if message.HasField(name):
            child = getattr(message, name)
            _clear(child, inner)
            if not child.ByteSize():
                message.ClearField(name)
    for name, inner in plan.repeated:
        elements = getattr(message, name)
        for element in elements:
            _clear(element, inner)
        _retain(elements, [bool(element.ByteSize()) for element in elements])
    if plan.contents and (content := message.WhichOneof(CONTENT)) in plan.contents:
        _clear(getattr(message, content), plan.contents[content])


class _Deletable(Protocol):
    def __delitem__(self, index: int, /) -> None: ...


def _retain(elements: _Deletable, keep: Sequence[bool]) -> None:
    if all(keep):
        return
    for index in reversed(range(len(keep))):
        if not keep[index]:
            del elements[index]


_PLANS_KEPT: Final = 4096
"""Lists of fields whose clearing is kept: every (rule, kind) of a large bundle. Beyond it they are worked out anew."""


@lru_cache(maxsize=_PLANS_KEPT)
def _plan(message: Descriptor, fields: tuple[str, ...]) -> Clearing:
    return clearing(message, frozenset(fields))


def prepare(fields: tuple[str, ...]) -> None:
    """Works out the clearing for a list of fields ahead of the first report."""
    _plan(report_pb2.Report.DESCRIPTOR, fields)


def keep_only(report: Message, fields: tuple[str, ...]) -> None:
    """Clears everything in a report, of whatever version of the schema, but the named leaf paths (rules 1, 3 and 4)."""
    report.DiscardUnknownFields()
    _clear(report, _plan(report.DESCRIPTOR, fields))


def refers_to(report: report_pb2.Report) -> tuple[tuple[str, str], ...]:
    """Every earlier report that this one names, as (originator node, report identifier), each once: what ``narrow`` and
    ``transform`` will ask ``was_released`` about, so that a caller can look it all up at once."""
    # Here and below a slice: it is a list, and protobuf's own iteration ends with an exception.
    named = [(reference.originator_node, reference.report_id) for reference in report.references[:]]
    if _is_recall(report):
        node = report.originator_node
        named += [(node, report_id) for report_id in _recalled(report)]
        if report.correction.replacement_report_id:
            named.append((node, report.correction.replacement_report_id))
    return tuple(dict.fromkeys(named)) if len(named) > 1 else tuple(named)


def narrow(report: report_pb2.Report, decision: Decision, was_released: WasReleased) -> Decision:
    """The decision, given what the partner has: a correction or cancellation of reports none of which the partner has
    is withheld, "(refers to nothing the partner has)". Any other decision comes back as it is."""
    if decision.outcome is not RELEASED or not _is_recall(report):
        return decision
    if any(_has(decision.partner, report.originator_node, named, was_released) for named in _recalled(report)):
        return decision
    return replace(
        decision,
        outcome=Outcome.WITHHELD,
        rule=str(BuiltIn.REFERS_TO_NOTHING),
        reason="",
        agreement="",
        fields=(),
        obligations=obligations.NONE,
    )


def transform(report: report_pb2.Report, decision: Decision, was_released: WasReleased, node: str) -> report_pb2.Report:
    """The copy that goes to the decision's partner, changed by ``node``. The report itself is left as it is.

    Raises NotReleasedError where the decision releases nothing, or would after ``narrow``; and ObligationError where
    the copy cannot be changed as the decision obliges, and so may not go.
    """
    if decision.outcome is not RELEASED:
        raise NotReleasedError(f"The decision is {decision.outcome}: {decision.rule}. Nothing may go.")
    copy = report_pb2.Report()
    copy.CopyFrom(report)
    _drop_unknown_reports(copy, decision.partner, was_released)
    keep_only(copy, decision.fields)
    obligations.apply(copy, decision.obligations, node)
    return copy


def _is_recall(report: report_pb2.Report) -> bool:
    return report.WhichOneof(CONTENT) in _RECALLS


_RECALLS: Final = frozenset(("correction", "cancellation"))


def _recalled(report: report_pb2.Report) -> Sequence[str]:
    return report.correction.report_ids or report.cancellation.report_ids


def _has(partner: str, originator: str, report_id: str, was_released: WasReleased) -> bool:
    return originator == partner or was_released(originator, report_id)


def _drop_unknown_reports(copy: report_pb2.Report, partner: str, was_released: WasReleased) -> None:
    if references := copy.references[:]:
        had = [_has(partner, item.originator_node, item.report_id, was_released) for item in references]
        _retain(copy.references, had)
    if not _is_recall(copy):
        return
    node = copy.originator_node
    recall = copy.correction if copy.HasField("correction") else copy.cancellation
    had = [_has(partner, node, report_id, was_released) for report_id in recall.report_ids]
    if not any(had):
        raise NotReleasedError(f"The decision must be narrowed first: {BuiltIn.REFERS_TO_NOTHING}.")
    _retain(recall.report_ids, had)
    if copy.HasField("correction"):
        replacement = copy.correction.replacement_report_id
        if replacement and not _has(partner, node, replacement, was_released):
            copy.correction.ClearField("replacement_report_id")
