"""The copy that goes to a partner: only the named fields, and only what the partner has is referred to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2
from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy import BuiltIn, Decision, NotReleasedError, Outcome, refers_to
from policy.errors import ObligationError
from policy.fields import ALWAYS_RELEASED, LEAVES, fields_of_kind
from policy.obligations import NONE, Grid, Obligations, Remark
from policy.transform import keep_only, narrow, transform
from policy.vocabulary import Kind
from tests.policy import reports
from tests.policy.reports import had_everything, had_nothing, report_id

EVERY_LEAF = {kind: fields_of_kind(LEAVES, kind) for kind in Kind}


def released(*paths: str, kind: Kind = Kind.TRACK) -> Decision:
    return Decision(Outcome.RELEASED, "KOR", "a-rule", fields=fields_of_kind(paths, kind))


def copy_of(report: report_pb2.Report, *paths: str, kind: Kind = Kind.TRACK) -> report_pb2.Report:
    return transform(report, released(*paths, kind=kind), had_everything, "JPN")


def test_only_the_named_fields_go_and_those_that_always_go() -> None:
    report = reports.track(reports.envelope(caveats=["EYES-ONLY"]))
    copy = copy_of(report, "track.position.latitude_deg", "event_id")
    expected = report_pb2.Report(
        report_id=report.report_id,
        originator_node="JPN",
        event_id="event-7",
        report_time=report.report_time,
        traffic_class=report.traffic_class,
        precedence=report.precedence,
        marking=report_pb2.Marking(policy="JPN", classification=report.marking.classification, caveats=["EYES-ONLY"]),
        track=report_pb2.Track(position=report_pb2.Position(latitude_deg=39.5)),
    )
    assert copy == expected


def test_who_else_may_have_it_goes_only_where_it_is_named() -> None:
    assert list(copy_of(reports.track()).marking.releasable_to) == []
    assert list(copy_of(reports.track(), "marking.releasable_to").marking.releasable_to) == ["KOR", "USA"]


def test_onward_release_goes_always() -> None:
    report = reports.track()
    report.marking.onward_release.append("USA")
    assert list(copy_of(report).marking.onward_release) == ["USA"]


@pytest.mark.parametrize(
    "report",
    [reports.launch(), reports.track(), reports.impact(), reports.all_clear()],
    ids=lambda report: str(report.WhichOneof("content")),
)
def test_the_kind_of_report_stays_visible_though_none_of_its_fields_goes(report: report_pb2.Report) -> None:
    content = report.WhichOneof("content")
    copy = transform(report, released(), had_everything, "JPN")
    assert copy.WhichOneof("content") == content
    assert getattr(copy, str(content)).ByteSize() == 0


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (reports.launch(), Kind.LAUNCH_DETECTION),
        (reports.track(), Kind.TRACK),
        (reports.impact(), Kind.IMPACT_PREDICTION),
        (reports.correction([report_id(1)], report_id(2)), Kind.CORRECTION),
        (reports.cancellation([report_id(1)]), Kind.CANCELLATION),
        (reports.all_clear(), Kind.ALL_CLEAR),
    ],
)
def test_with_every_field_named_the_copy_is_the_report(report: report_pb2.Report, kind: Kind) -> None:
    assert (
        transform(report, Decision(Outcome.RELEASED, "KOR", "r", fields=EVERY_LEAF[kind]), had_everything, "JPN")
        == report
    )


def test_the_report_itself_is_left_as_it_is() -> None:
    report = reports.track()
    before = report.SerializeToString(deterministic=True)
    copy = copy_of(report)
    copy.marking.caveats.append("X")
    assert report.SerializeToString(deterministic=True) == before


def test_a_message_of_which_nothing_is_left_is_dropped() -> None:
    report = reports.track()
    report.track.velocity.ClearField("z_mps")
    copy = copy_of(report, "track.velocity.z_mps", "threat.launch_area")
    assert not copy.track.HasField("velocity")
    assert copy.threat == report_pb2.Threat(launch_area="Sunan")


def test_inside_a_repeated_message_the_named_fields_of_every_element_go() -> None:
    path = "impact_prediction.warning_area.corners.latitude_deg"
    copy = copy_of(reports.impact(), path, kind=Kind.IMPACT_PREDICTION)
    corners = copy.impact_prediction.warning_area.corners
    assert [corner.latitude_deg for corner in corners] == [40.0, 40.0, 42.0]
    assert not any(corner.HasField("longitude_deg") for corner in corners)


def test_zero_is_carried_as_zero_and_absent_as_absent() -> None:
    report = reports.track()
    report.track.position.latitude_deg = 0.0
    report.track.position.ClearField("height_m")
    position = copy_of(report, "track.position.latitude_deg", "track.position.height_m").track.position
    assert position.HasField("latitude_deg")
    assert not position.HasField("height_m")


@pytest.mark.parametrize("outcome", [Outcome.WITHHELD, Outcome.HELD])
def test_nothing_is_copied_where_nothing_is_released(outcome: Outcome) -> None:
    with pytest.raises(NotReleasedError, match="Nothing may go"):
        transform(reports.track(), Decision(outcome, "KOR", "r", fields=EVERY_LEAF[Kind.TRACK]), had_everything, "JPN")


def tomorrow() -> type[Message]:
    """The report of a later version of the schema, with a new field at every level and a new message."""
    file = descriptor_pb2.FileDescriptorProto()
    report_pb2.DESCRIPTOR.CopyToProto(file)
    text, message_type = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
    )
    for message in file.message_type:
        if message.name in ("Report", "Track", "Position", "Marking", "Reference"):
            message.field.add(name="new_text", number=1000, type=text, label=1)
            message.field.add(
                name="new_seekers", number=1001, type=message_type, label=3, type_name=".signalfire.v1.Seeker"
            )
    file.message_type.add(name="Seeker").field.add(name="band", number=1, type=text, label=1)
    pool = descriptor_pool.DescriptorPool()
    for needed in (duration_pb2, timestamp_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        needed.DESCRIPTOR.CopyToProto(proto)
        pool.Add(proto)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("signalfire.v1.Report"))


def from_tomorrow() -> tuple[report_pb2.Report, Message]:
    """A report of today with references, and the same in tomorrow's schema with every new field set."""
    today = reports.track()
    today.references.add(originator_node="JPN", report_id=report_id(3), relation=1)
    later = tomorrow().FromString(today.SerializeToString())
    for path in ("", "track", "track.position", "marking"):
        message: object = later
        for step in filter(None, path.split(".")):
            message = getattr(message, step)
        set_new_fields(message)
    set_new_fields(later.references[0])  # type: ignore[attr-defined]  # the schema is made above
    return today, later


def set_new_fields(message: object) -> None:
    message.new_text = "LEAK"  # type: ignore[attr-defined]  # the schema is made above
    message.new_seekers.add(band="LEAK")  # type: ignore[attr-defined]  # the schema is made above


def test_a_field_added_to_the_schema_tomorrow_leaks_nothing() -> None:
    today, later = from_tomorrow()
    assert later.SerializeToString().count(b"LEAK") == 10
    keep_only(later, EVERY_LEAF[Kind.TRACK])
    assert later.SerializeToString(deterministic=True) == today.SerializeToString(deterministic=True)


def test_a_field_that_the_schema_in_use_does_not_know_leaks_nothing() -> None:
    today, later = from_tomorrow()
    carried = report_pb2.Report.FromString(later.SerializeToString())
    assert carried.SerializeToString().count(b"LEAK") == 10
    decision = Decision(Outcome.RELEASED, "KOR", "r", fields=EVERY_LEAF[Kind.TRACK])
    assert transform(carried, decision, had_everything, "JPN").SerializeToString(deterministic=True) == (
        today.SerializeToString(deterministic=True)
    )


def referring() -> report_pb2.Report:
    report = reports.track()
    for node, number in (("JPN", 1), ("JPN", 2), ("KOR", 3), ("USA", 4)):
        report.references.add(
            originator_node=node, report_id=report_id(number), relation=report_pb2.REFERENCE_RELATION_UPDATES
        )
    return report


def test_only_references_to_what_the_partner_has_are_kept() -> None:
    paths = ("references.originator_node", "references.report_id", "references.relation")
    copy = transform(referring(), released(*paths), lambda node, named: (node, named) == ("JPN", report_id(2)), "JPN")
    kept = [(reference.originator_node, reference.report_id) for reference in copy.references]
    assert kept == [("JPN", report_id(2)), ("KOR", report_id(3))]


def test_references_do_not_go_unless_they_are_named() -> None:
    assert len(transform(referring(), released("event_id"), had_everything, "JPN").references) == 0


def test_a_partner_has_what_it_originated_itself() -> None:
    copy = transform(referring(), released("references.report_id"), had_nothing, "JPN")
    assert [reference.report_id for reference in copy.references] == [report_id(3)]


RECALL = (
    "correction.report_ids",
    "correction.reason",
    "correction.replacement_report_id",
    "cancellation.report_ids",
)


def knows(*numbers: int) -> set[tuple[str, str]]:
    return {("JPN", report_id(number)) for number in numbers}


def test_identifiers_that_the_partner_never_had_are_removed_from_a_correction() -> None:
    had = knows(1, 3)
    report = reports.correction([report_id(1), report_id(2), report_id(3)], report_id(4))
    copy = transform(report, released(*RECALL, kind=Kind.CORRECTION), lambda *named: named in had, "JPN")
    assert list(copy.correction.report_ids) == [report_id(1), report_id(3)]
    assert copy.correction.replacement_report_id == ""
    assert copy.correction.reason == report.correction.reason


def test_the_replacement_is_named_where_the_partner_was_released_it() -> None:
    had = knows(1, 4)
    report = reports.correction([report_id(1)], report_id(4))
    copy = transform(report, released(*RECALL, kind=Kind.CORRECTION), lambda *named: named in had, "JPN")
    assert copy.correction.replacement_report_id == report_id(4)


def test_identifiers_that_the_partner_never_had_are_removed_from_a_cancellation() -> None:
    had = knows(2)
    report = reports.cancellation([report_id(1), report_id(2)])
    copy = transform(report, released(*RECALL, kind=Kind.CANCELLATION), lambda *named: named in had, "JPN")
    assert list(copy.cancellation.report_ids) == [report_id(2)]


@pytest.mark.parametrize(
    "report", [reports.correction([report_id(1)], report_id(2)), reports.cancellation([report_id(1)])]
)
def test_a_recall_of_nothing_that_the_partner_has_is_withheld(report: report_pb2.Report) -> None:
    had = knows(2)
    decision = released(*RECALL, kind=Kind.CORRECTION)
    narrowed = narrow(report, decision, lambda *named: named in had)
    assert (narrowed.outcome, narrowed.rule) == (Outcome.WITHHELD, BuiltIn.REFERS_TO_NOTHING)
    assert narrowed.fields == ()
    with pytest.raises(NotReleasedError, match="narrowed first"):
        transform(report, decision, lambda *named: named in had, "JPN")


def test_any_other_decision_is_not_narrowed() -> None:
    withheld = Decision(Outcome.WITHHELD, "KOR", "keep-back")
    assert narrow(reports.correction([report_id(1)]), withheld, had_nothing) is withheld
    for report in (reports.track(), reports.all_clear(), referring()):
        decision = released()
        assert narrow(report, decision, had_nothing) is decision
    decision = released(kind=Kind.CORRECTION)
    assert narrow(reports.correction([report_id(1)]), decision, had_everything) is decision


def test_what_a_report_refers_to_can_be_looked_up_at_once() -> None:
    assert refers_to(reports.track()) == ()
    assert refers_to(referring())[2:] == (("KOR", report_id(3)), ("USA", report_id(4)))
    report = reports.correction([report_id(1), report_id(1)], report_id(2))
    assert refers_to(report) == (("JPN", report_id(1)), ("JPN", report_id(2)))
    assert refers_to(reports.cancellation([report_id(5)])) == (("JPN", report_id(5)),)


def obliged(report: report_pb2.Report, obligations: Obligations, *paths: str) -> report_pb2.Report:
    decision = Decision(Outcome.RELEASED, "KOR", "r", fields=fields_of_kind(paths, Kind.TRACK), obligations=obligations)
    return transform(report, decision, had_everything, "JPN")


def test_what_is_left_is_coarsened_and_says_so() -> None:
    copy = obliged(reports.track(), Obligations(velocity_mps=2.0), "track.velocity.x_mps", "track.velocity.y_mps")
    assert (copy.track.velocity.x_mps, copy.track.velocity.y_mps) == (2.0, 2.0)
    assert list(copy.derivations) == [
        report_pb2.Derivation(node="JPN", fields=["track.velocity.x_mps", "track.velocity.y_mps"])
    ]


def test_what_is_not_named_does_not_come_back_and_does_not_show_in_what_is_worked_out() -> None:
    """The covariance grows with the height of the point; of a height that was held back it must not tell."""
    low, high = reports.track(), reports.track()
    high.track.position.height_m = 40_000_000.0
    paths = ("track.position.latitude_deg", "track.position.longitude_deg", "track.covariance.upper_triangle")
    copies = [obliged(report, Obligations(Grid(10_000.0)), *paths) for report in (low, high)]
    assert copies[0] == copies[1]
    assert not copies[0].track.position.HasField("height_m")


def test_what_other_nodes_changed_before_is_still_said() -> None:
    report = reports.track()
    report.derivations.add(node="KOR", fields=["track.position.latitude_deg"])
    copy = obliged(report, Obligations(time_s=60))
    assert [derivation.node for derivation in copy.derivations] == ["KOR", "JPN"]
    assert copy_of(report).derivations == report.derivations


def test_a_copy_that_cannot_be_made_as_coarse_as_obliged_does_not_go() -> None:
    report = reports.track(reports.envelope(caveats=[f"C{number}" for number in range(16)]))
    with pytest.raises(ObligationError):
        obliged(report, Obligations(remark=Remark(add_caveats=("COARSE",))))


def test_a_recall_that_is_withheld_obliges_to_nothing() -> None:
    decision = replace(released(*RECALL, kind=Kind.CORRECTION), obligations=Obligations(time_s=60))
    assert narrow(reports.correction([report_id(1)]), decision, had_nothing).obligations == NONE


def value_at(report: report_pb2.Report, path: str) -> object:
    value: object = report
    for step in path.split("."):
        value = getattr(value, step)
    return value


@pytest.mark.parametrize("path", ALWAYS_RELEASED)
def test_what_the_contract_marks_always_released_goes_with_every_release(path: str) -> None:
    report = reports.track(reports.envelope(caveats=["EYES-ONLY"]))
    report.marking.onward_release.append("USA")
    report.derivations.add(node="KOR", fields=["track.quality"])
    if path.startswith("derivations."):
        assert copy_of(report).derivations == report.derivations
    else:
        assert value_at(copy_of(report), path) == value_at(report, path)
