"""The copy of a report that a partner must have, by what was pushed and by the policy of `invented`. Pure.

It is what was pushed, without the station that saw it, its sequence, and who else may have it; a recall without
references. Identifiers of earlier reports, referred to or recalled, are left out where the partner does not have those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from signalfire.v1 import report_pb2

Had = Callable[[str, str], bool | None]
"""Whether a partner had the report of that originator and identifier when another that names it was decided. None:
either may be, as the two were decided at about the same time."""

WARNINGS = ("launch_detection", "track", "impact_prediction")


def expected_copy(sent: report_pb2.Report, got: report_pb2.Report, had: Had) -> report_pb2.Report:
    """What must have come of `sent`. Of what may be named and may be left out it names what `got` does."""
    copy = report_pb2.Report()
    copy.CopyFrom(sent)
    for field in ("originator_station", "source_sequence", "references"):
        copy.ClearField(field)
    copy.marking.ClearField("releasable_to")
    node, content = sent.originator_node, sent.WhichOneof("content")
    if content in WARNINGS:
        for reference in sent.references:
            known = had(reference.originator_node, reference.report_id)
            if known or (known is None and reference in got.references):
                copy.references.append(reference)

    def left(report_ids: Iterable[str], named: Iterable[str]) -> list[str]:
        among = frozenset(named)
        answers = [(report_id, had(node, report_id)) for report_id in report_ids]
        return [each for each, known in answers if known or (known is None and each in among)]

    if content == "cancellation":
        copy.cancellation.report_ids[:] = left(sent.cancellation.report_ids, got.cancellation.report_ids)
    elif content == "correction":
        copy.correction.report_ids[:] = left(sent.correction.report_ids, got.correction.report_ids)
        replacement = sent.correction.replacement_report_id
        if replacement and not left([replacement], [got.correction.replacement_report_id]):
            copy.correction.ClearField("replacement_report_id")
    return copy


def difference(sent: report_pb2.Report, got: report_pb2.Report, had: Had) -> list[str]:
    """Names of the fields in which `got` is not the copy that must have come of `sent`."""
    return differing(expected_copy(sent, got, had), got)


def differing(one: report_pb2.Report, other: report_pb2.Report) -> list[str]:
    """Names of the fields in which two reports differ, among them those that one of them has not."""
    fields = [{field.name: value for field, value in report.ListFields()} for report in (one, other)]
    return sorted(name for name in {*fields[0], *fields[1]} if fields[0].get(name) != fields[1].get(name))
