"""Conditions as proofs see them, about one actual report."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import z3
from hypothesis import reject
from signalfire.v1 import report_pb2

from policy.cel import Condition, Vocabulary
from policy.prove.solver import Answer, Question, double, no, some, text
from policy.prove.subject import Setting, Subject, nanoseconds, sort_of
from policy.prove.terms import Terms, Truth
from policy.prove.validity import field_at
from policy.prove.verdict import ProofSettings
from policy.vocabulary import KIND_OF_ARM, TrafficClass

SETTINGS = ProofSettings(timeout_ms=20_000)


def subject_of(report: report_pb2.Report, node: str = "JPN") -> Subject:
    """The symbolic report of which the actual one is a case."""
    kind = KIND_OF_ARM[report.WhichOneof("content") or ""]
    return Subject(Setting(node, "KOR", kind, tuple(TrafficClass), report.originator_node))


def pinned(subject: Subject, report: report_pb2.Report, now: datetime, posture: str) -> list[z3.BoolRef]:
    """That the symbolic report is the actual one, as far as it was read."""
    pins = [subject.now == nanoseconds(now), subject.posture == text(posture), subject.trusted]
    for path, variable in list(subject.values.items()):
        pins.append(variable == _literal(path, _at(report, path)))
    for path, presence in list(subject.presences.items()):
        pins.append(presence if _is_there(report, path) else no(presence))
    for path, size in list(subject.sizes.items()):
        pins.append(size == len(_at(report, path)))
    for path, entries in list(subject.entries.items()):
        held = list(_at(report, path))
        pins += [subject.member(entry, path) == some(entry == text(value) for value in held) for entry in entries]
    for path, area, truth in subject.insides:
        position = _at(report, path)
        if position.HasField("latitude_deg") and position.HasField("longitude_deg"):
            pins.append(truth if area.contains(position.latitude_deg, position.longitude_deg) else no(truth))
    return pins


def _at(report: report_pb2.Report, path: str) -> Any:
    value: Any = report
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _is_there(report: report_pb2.Report, path: str) -> bool:
    message: Any = report
    *above, name = path.split(".")
    for step in above:
        if not message.HasField(step):
            return False
        message = getattr(message, step)
    field = field_at(path)
    return message.HasField(name) if field.has_presence else bool(getattr(message, name))


def _literal(path: str, value: Any) -> z3.ExprRef:
    sort = sort_of(field_at(path))
    if sort in ("timestamp", "duration"):
        return z3.IntVal(value.ToNanoseconds())
    if sort == "double":
        return double(value)
    return text(value) if sort == "string" else z3.IntVal(int(value))


def readings(
    condition: Condition, vocabulary: Vocabulary, report: report_pb2.Report, now: datetime, posture: str
) -> set[bool | None]:
    """Every outcome of a condition that proofs reckon with for this very report; None stands for an error. Empty: they
    hold that there is no such report."""
    subject = subject_of(report)
    terms = Terms(subject, vocabulary.countries, vocabulary.areas)
    truth = terms.condition(condition.tree)
    constraints = [*subject.constraints, *pinned(subject, report, now, posture)]
    return {outcome for outcome, formula in _outcomes(truth) if _possible(constraints, formula)}


def _outcomes(truth: Truth) -> list[tuple[bool | None, z3.BoolRef]]:
    fine = no(truth.error)
    return [(None, truth.error), (True, z3.And(fine, truth.value)), (False, z3.And(fine, no(truth.value)))]


def _possible(constraints: list[z3.BoolRef], formula: z3.BoolRef) -> bool:
    question = Question(SETTINGS)
    question.add(*constraints, formula)
    answer = question.ask()
    if answer is Answer.UNKNOWN:
        # The solver ran out of time, as it may on a busy machine: nothing is learnt from this example.
        reject()
    return answer is Answer.SOME
