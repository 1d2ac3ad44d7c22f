"""Whether a report may come in: at the C2 door from this nation's own systems, at the partner's door from an origin.

Pure: no I/O, and the clock is passed in. Every violation is found at once, never only the first. The rules, in
order, are those of `signalfire/v1/report.proto`:

1. The conventions of every field (`gateway.reports.fields`) and shape (`gateway.reports.geometry`).
2. The originator is this node (C2 door), or the node whose ledger brought the report (partner's door).
3. At the C2 door the report time is at most `max_ahead` in the future and at most `max_age` in the past. One that lies
   no more than WAITED_FOR_NS ahead is not wrong for that: it is taken once its time has come (`early_ns`). A correction
   or cancellation may have any age, for it says itself what it recalls; an all-clear may not, for an old one would
   recall what was reported since. Not at the partner's: what comes there is judged once, so a clock that is slow here
   must not cost warnings (`clock_warning` flags them); and a partner that was offline receives what is hours old, and
   the ledger says when it was sent. Nor while the gateway does not trust its own clock: it cannot say whose is wrong,
   and flags alone.
4. The valid time is not after the report time; of a predicted track point, at most `max_prediction_ahead` after it.
5. In live traffic only countries that exist are named; exercises and tests may use user-assigned codes.
6. A reference names each report once and never the report itself.
7. What was changed on the way is named, and only at the partner's door (`gateway.reports.derivations`).
8. Exactly one kind of content is set, and keeps the rules of its kind (`gateway.reports.content`).

At the partner's door a required field may be absent, for the origin's policy releases only what it names, save
`report_id`, `originator_node`, `report_time`, `traffic_class`, `precedence`, `marking` (its policy and its level), and
which kind it is. Whatever is present keeps every rule, but that times may contradict each other by
`coarsening_slack`, that one that was coarsened may be uncertain by up to 2 h, and that corners of an area may have come
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from signalfire.v1 import report_pb2

from gateway.reports.content import CONTENT_CHECKS
from gateway.reports.derivations import check_derivations
from gateway.reports.fields import (
    CAVEAT,
    COUNTRY_REMEDY,
    NAMING,
    POLICY_NAME,
    SECOND_NS,
    UUID,
    Bounds,
    Examination,
    Known,
    Need,
    enum_form,
    quoted,
    seconds_text,
    time_text,
)
from gateway.reports.limits import ReportLimits
from gateway.reports.violations import Violation
from policy.countries import UNKNOWN

TRAFFIC_CLASS: Final = enum_form(report_pb2.TrafficClass.DESCRIPTOR)
PRECEDENCE: Final = enum_form(report_pb2.Precedence.DESCRIPTOR)
CLASSIFICATION: Final = enum_form(report_pb2.Classification.DESCRIPTOR)
REFERENCE_RELATION: Final = enum_form(report_pb2.ReferenceRelation.DESCRIPTOR)
SOURCE_SEQUENCE: Final = Bounds(1, 2**64 - 1, "send the number in the station's own sequence, from 1")

MOST_NODES: Final = 64
MOST_CAVEATS: Final = 16
MOST_REFERENCES: Final = 64
MOST_LAUNCH_AREA: Final = 64
_SOUND_MARKINGS: Final[Known[tuple[bytes, bool, bool]]] = Known(256)
"""Markings that keep every rule: serialised, with what they were judged by (live traffic, at the C2 door)."""
WAITED_FOR_NS: Final = 60 * SECOND_NS
"""How far ahead a report time may lie for its report to be taken in the end. A warning that comes seconds late is worth
more than one that never does; beyond this a clock is not a little off but wrong."""
_OF_ANY_AGE: Final = frozenset({"correction", "cancellation"})
"""Content that names each report which it recalls."""
_CLOCK_REMEDY: Final = "synchronise the clock of the system that made the report"


def validate_submitted(
    report: report_pb2.Report, *, node: str, now: int, limits: ReportLimits, clock_trusted: bool = True
) -> list[Violation]:
    """Everything that is wrong with a report that a C2 system of `node` submits; empty: it may be taken, once its time
    has come (`early_ns`).

    `now` is this gateway's time in nanoseconds since 1970-01-01T00:00:00Z, `clock_trusted` whether it believes that.
    `report` has come through `gateway.reports.parse`.
    """
    examination = Examination(report, limits, complete=True)
    originator = report.originator_node
    if originator not in examination.countries:
        examination.country(originator, "", "originator_node", Need.ALWAYS_RELEASED)
    if originator != node and originator:
        problem = f"is {quoted(originator)}, and this gateway takes the reports of {node}"
        examination.wrong("", "originator_node", problem, f"send {node}, or push to the other node's gateway")
    report_time = _check_envelope(examination, report)
    if report_time is None or not clock_trusted:
        return examination.found
    ahead = report_time - now
    if ahead > limits.max_ahead_ns and (examination.found or ahead > WAITED_FOR_NS):
        examination.found.append(too_early(report, now, limits))
    if -ahead > limits.max_age_ns and report.WhichOneof("content") not in _OF_ANY_AGE:
        examination.wrong(
            "",
            "report_time",
            f"is {time_text(report_time)}, {seconds_text(-ahead)} ago, and at most"
            f" {seconds_text(limits.max_age_ns)} are allowed",
            "send reports when they are made; for a replay, have the gateway's limits.reports.max_age_s raised",
        )
    return examination.found


def early_ns(report: report_pb2.Report, now: int, limits: ReportLimits) -> int:
    """In how many nanoseconds the report time lies as little ahead as it must at the C2 door; 0 or less: it does.

    `report` has a report time, and `now` is as in `validate_submitted`.
    """
    return _report_time(report) - now - limits.max_ahead_ns


def too_early(report: report_pb2.Report, now: int, limits: ReportLimits) -> Violation:
    """What is to be said of a report of which `early_ns` is above 0."""
    report_time = _report_time(report)
    return Violation(
        "report_time",
        f"is {time_text(report_time)}, {seconds_text(report_time - now)} ahead of this gateway's clock, and at"
        f" most {seconds_text(limits.max_ahead_ns)} are allowed",
        _CLOCK_REMEDY,
    )


def validate_released(report: report_pb2.Report, *, origin: str, limits: ReportLimits) -> list[Violation]:
    """Everything that is wrong with a report that came in a ledger of `origin`; empty: it may be believed.

    `report` has come through `gateway.reports.parse`.
    """
    examination = Examination(report, limits, complete=False)
    originator = report.originator_node
    if originator not in examination.countries:
        examination.country(originator, "", "originator_node", Need.ALWAYS_RELEASED)
    if originator != origin and originator:
        problem = f"is {quoted(originator)}, and the ledger that holds it is that of {origin}"
        examination.wrong("", "originator_node", problem, "release a node's reports in its own ledgers")
    _check_envelope(examination, report)
    return examination.found


def clock_warning(report: report_pb2.Report, now: int, limits: ReportLimits, *, submitted: bool = False) -> str | None:
    """What to flag about the clock of a report that was taken; None: nothing.

    Flagged is a report time more than `flag_offset` after `now` (nanoseconds since 1970), and of one that a C2 system
    `submitted` also one more than `flag_behind` before it.
    """
    report_time = _report_time(report)
    ahead = report_time - now
    if ahead > limits.flag_offset_ns:
        off, remedy = f"{seconds_text(ahead)} ahead of", _CLOCK_REMEDY
    elif submitted and -ahead > limits.flag_behind_ns:
        off, remedy = f"{seconds_text(-ahead)} behind", f"{_CLOCK_REMEDY}, or look why it comes so late"
    else:
        return None
    return (
        # Not its station: this goes to logs, and a policy may keep that at home.
        f"report_time of {report.report_id} from {report.originator_node} is"
        f" {time_text(report_time)}, {off} this gateway's clock: {remedy}"
    )


def _report_time(report: report_pb2.Report) -> int:
    stamp = report.report_time
    return stamp.seconds * SECOND_NS + stamp.nanos


def _check_envelope(examination: Examination, report: report_pb2.Report) -> int | None:
    """Every rule but those on the originator and this clock; the report time, where there is one, in nanoseconds."""
    if not UUID.fits(report.report_id):
        examination.text(report.report_id, "", "report_id", UUID, Need.ALWAYS_RELEASED)
    if report.originator_station not in NAMING.known:
        examination.text(report.originator_station, "", "originator_station", NAMING)
    source_sequence = report.source_sequence
    if not (source_sequence and SOURCE_SEQUENCE.lowest <= source_sequence <= SOURCE_SEQUENCE.highest):
        examination.number(report, "", "source_sequence", SOURCE_SEQUENCE)
    if report.event_id not in NAMING.known:
        examination.text(report.event_id, "", "event_id", NAMING)
    report_time = examination.time(report, "", "report_time", Need.ALWAYS_RELEASED)
    kind = report.WhichOneof("content")
    valid_time = examination.time(report, "", "valid_time")
    if valid_time is not None and report_time is not None and valid_time > report_time:
        predicted = kind == "track" and _may_be_ahead(examination, report)
        ahead_ns = examination.limits.max_prediction_ahead_ns if predicted else 0
        examination.not_after(valid_time, "", "valid_time", report_time, ahead_ns)
    examination.uncertainty(report, "", "clock_uncertainty")
    if report.traffic_class not in TRAFFIC_CLASS.defined:
        examination.choice(report.traffic_class, "", "traffic_class", TRAFFIC_CLASS, Need.ALWAYS_RELEASED)
    if report.precedence not in PRECEDENCE.defined:
        examination.choice(report.precedence, "", "precedence", PRECEDENCE, Need.ALWAYS_RELEASED)
    marking = report.marking.SerializePartialToString(), examination.live, examination.complete
    if marking not in _SOUND_MARKINGS:
        before = len(examination.found)
        _check_marking(examination, report)
        if len(examination.found) == before:
            _SOUND_MARKINGS.keep(marking)
    threat = report.threat
    area = threat.launch_area
    if not (threat.launch_country in examination.countries and len(area) <= MOST_LAUNCH_AREA and area.isprintable()):
        _check_threat(examination, report)
    if references := report.references[:]:
        _check_references(examination, report, references)
    if report.derivations:
        check_derivations(examination, report)
    if kind is None:
        remedy = f"set one of {', '.join(CONTENT_CHECKS)}"
        examination.absent("", "content", remedy, Need.ALWAYS_RELEASED)
    else:
        CONTENT_CHECKS[kind](examination, report, report_time)
    return report_time


def _may_be_ahead(examination: Examination, report: report_pb2.Report) -> bool:
    """Whether a track point may be a predicted one: it says so, or a partner withheld what it is."""
    point_type = report.track.point_type
    return point_type == report_pb2.TRACK_POINT_TYPE_PREDICTED or (
        point_type == report_pb2.TRACK_POINT_TYPE_UNSPECIFIED and not examination.complete
    )


def _check_marking(examination: Examination, report: report_pb2.Report) -> None:
    if not report.HasField("marking"):
        examination.absent("", "marking", "send a marking with policy and classification", Need.ALWAYS_RELEASED)
        return
    where, marking = "marking", report.marking
    examination.text(marking.policy, where, "policy", POLICY_NAME, Need.ALWAYS_RELEASED)
    examination.choice(marking.classification, where, "classification", CLASSIFICATION, Need.ALWAYS_RELEASED)
    examination.country_list(marking.releasable_to[:], where, "releasable_to", MOST_NODES)
    examination.text_list(marking.caveats[:], where, "caveats", MOST_CAVEATS, CAVEAT)
    examination.country_list(marking.onward_release[:], where, "onward_release", MOST_NODES)


def _check_threat(examination: Examination, report: report_pb2.Report) -> None:
    if not report.HasField("threat"):
        examination.absent("", "threat", "send a threat with launch_country")
        return
    country = report.threat.launch_country
    if country != UNKNOWN:
        if country and country not in examination.countries:
            problem = f"is {quoted(country)}, which is neither an ISO 3166-1 alpha-3 code nor UNKNOWN"
            remedy = f"{COUNTRY_REMEDY}, or UNKNOWN"
            examination.wrong("threat", "launch_country", problem, remedy)
        elif not country:
            examination.absent("threat", "launch_country", f"{COUNTRY_REMEDY}, or UNKNOWN")
    examination.words(report.threat.launch_area, "threat", "launch_area", MOST_LAUNCH_AREA)


def _check_references(
    examination: Examination, report: report_pb2.Report, references: Sequence[report_pb2.Reference]
) -> None:
    if len(references) > MOST_REFERENCES:
        examination.count(len(references), "", "references", MOST_REFERENCES)
        return
    itself = (report.originator_node, report.report_id)
    seen = {itself}
    for index, reference in enumerate(references):
        named = node, report_id = reference.originator_node, reference.report_id
        relation = reference.relation
        if (
            named not in seen
            and node in examination.countries
            and report_id in UUID.known
            and relation in REFERENCE_RELATION.defined
        ):
            seen.add(named)
            continue
        where = f"references[{index}]"
        examination.country(node, where, "originator_node")
        examination.text(report_id, where, "report_id", UUID)
        examination.choice(relation, where, "relation", REFERENCE_RELATION)
        if node and report_id:
            if named in seen:
                problem = "is this report itself" if named == itself else f"is {quoted(report_id)} again"
                examination.wrong(where, "report_id", problem, "name each earlier report once")
            seen.add(named)
