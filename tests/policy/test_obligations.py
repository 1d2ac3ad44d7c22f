"""What a rule obliges is done to the copy, said in its derivation, and lets nothing else through."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_released
from policy.decision import Decision, Outcome
from policy.errors import ObligationError
from policy.fields import LEAVES, fields_of_kind
from policy.obligations import NONE, Grid, Obligations, Remark, Rounding, at_least_as_coarse, changes
from policy.transform import transform
from policy.vocabulary import KIND_OF_ARM, Classification, Kind
from tests.policy import reports
from tests.policy.coarsening import COARSE, coarse, named
from tests.policy.reports import had_everything
from tests.reports.strategies import reports as any_report

POSITIONS = st.none() | st.builds(Grid, st.floats(1.0, 1e5)) | st.builds(Rounding, st.floats(1.0, 1e5))
REMARKS = st.none() | st.builds(
    Remark,
    st.none() | st.sampled_from(Classification),
    st.lists(st.sampled_from(["COARSE", "EYES-ONLY"]), unique=True).map(tuple),
    st.none() | st.frozensets(st.sampled_from(["USA", "KOR"])),
)
OBLIGATIONS = st.builds(
    Obligations, POSITIONS, st.none() | st.floats(0.1, 2e4), st.none() | st.integers(1, 3_600), REMARKS
)


def kind_of(report: report_pb2.Report) -> Kind:
    return KIND_OF_ARM[str(report.WhichOneof("content"))]


def coarse_or_none(report: report_pb2.Report, obligations: Obligations) -> report_pb2.Report | None:
    """None where it may not go."""
    try:
        return coarse(report, obligations)
    except ObligationError:
        return None


def value_at(message: Any, path: str) -> Any:
    """The value; of a field inside a list all of its values; None where there is none."""
    name, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if field.is_repeated:
        inside = [value_at(each, rest) for each in value] if rest else list(value)
        return [each for each in inside if each is not None] or None
    if not (message.HasField(name) if field.has_presence else value):
        return None
    return value_at(value, rest) if rest else value


def differing(one: report_pb2.Report, other: report_pb2.Report) -> set[str]:
    return {path for path in LEAVES if value_at(one, path) != value_at(other, path)} - {
        "derivations.node",
        "derivations.fields",
    }


@st.composite
def partly_released(draw: st.DrawFn) -> report_pb2.Report:
    """What a rule that names any fields lets go of any report."""
    report = draw(any_report())
    kind = kind_of(report)
    fields = draw(st.just(LEAVES) | st.sets(st.sampled_from(fields_of_kind(LEAVES, kind))).map(tuple))
    decision = Decision(Outcome.RELEASED, "KOR", "r", fields=fields_of_kind(fields, kind))
    return transform(report, decision, had_everything, "JPN")


@given(partly_released(), OBLIGATIONS)
def test_what_changed_is_named_once_by_the_node_and_nothing_but_what_may_change_did(
    report: report_pb2.Report, obligations: Obligations
) -> None:
    copy = coarse_or_none(report, obligations)
    if copy is None:
        return
    paths = named(copy)
    assert len(paths) == len(set(paths))
    assert differing(report, copy) <= set(paths)
    assert set(paths) <= set(changes(obligations, kind_of(report), LEAVES))
    assert [derivation.node for derivation in copy.derivations] == (["JPN"] if paths else [])


@given(partly_released(), OBLIGATIONS)
def test_nothing_that_was_not_in_the_copy_comes_into_it_but_for_the_marking(
    report: report_pb2.Report, obligations: Obligations
) -> None:
    copy = coarse_or_none(report, obligations)
    for path in differing(report, copy) if copy is not None else ():
        if not path.startswith("marking."):
            assert value_at(report, path) is not None, path


@given(partly_released(), OBLIGATIONS)
def test_a_coarsened_report_is_believed_at_the_partners_door(
    report: report_pb2.Report, obligations: Obligations
) -> None:
    copy = coarse_or_none(report, obligations)
    if copy is not None:
        assert validate_released(copy, origin="JPN", limits=ReportLimits()) == []


ERRORS = ("_error.semi_major_m", "_error.semi_minor_m", "uncertainty", "track.covariance.upper_triangle")


@given(partly_released(), OBLIGATIONS)
def test_coarsening_again_changes_no_value_but_stated_errors(
    report: report_pb2.Report, obligations: Obligations
) -> None:
    once = coarse_or_none(report, obligations)
    twice = None if once is None else coarse_or_none(once, obligations)
    if once is not None and twice is not None:
        assert {path for path in differing(once, twice) if not any(error in path for error in ERRORS)} == set()


def put(message: Any, path: str, source: Any) -> None:
    """Gives a field inside no list the value that it has in another message."""
    name, _, rest = path.partition(".")
    value = getattr(source, name)
    if rest:
        put(getattr(message, name), rest, value)
    elif isinstance(value, float):
        setattr(message, name, value)
    else:
        getattr(message, name).CopyFrom(value)


VALUES = ("latitude_deg", "longitude_deg", "height_m", "x_mps", "y_mps", "z_mps", "_time")


@given(any_report(), POSITIONS, st.none() | st.floats(0.1, 2e4), st.none() | st.integers(1, 3_600))
def test_reports_from_the_same_cells_give_the_same_copy(
    report: report_pb2.Report, position: Grid | Rounding | None, velocity_mps: float | None, time_s: int | None
) -> None:
    """Also the derivation and the stated errors: nothing that goes tells where in its cell a value was."""
    obligations = Obligations(position, velocity_mps, time_s)
    copy = coarse_or_none(report, obligations)
    if copy is None:
        return
    alike = report_pb2.Report()
    alike.CopyFrom(report)
    for path in named(copy):
        if path.endswith(VALUES) and "corners" not in path:
            put(alike, path, copy)
    assert coarse_or_none(alike, obligations) == copy


def test_no_obligation_leaves_the_copy_as_it_is() -> None:
    assert coarse(reports.track(), NONE) == reports.track()
    assert coarse(reports.all_clear(), Obligations(Grid(1e5), 100.0)) == reports.all_clear()


def test_times_go_back_to_a_multiple_and_are_that_much_less_certain() -> None:
    report = reports.launch()
    report.launch_detection.launch_time.FromJsonString("2024-06-01T11:59:58.500Z")
    copy = coarse(report, Obligations(time_s=60))
    assert copy.launch_detection.launch_time.ToJsonString() == "2024-06-01T11:59:00Z"
    assert copy.report_time.ToJsonString() == "2024-06-01T12:00:00Z"
    assert copy.launch_detection.launch_time_uncertainty.ToMilliseconds() == 60_500
    assert copy.clock_uncertainty.ToMilliseconds() == 60_002
    assert named(copy) == [
        "report_time",
        "valid_time",
        "clock_uncertainty",
        "launch_detection.launch_time",
        "launch_detection.launch_time_uncertainty",
    ]


@given(any_report(), st.integers(1, 3_600))
def test_no_time_moves_into_the_future_or_past_another(report: report_pb2.Report, step_s: int) -> None:
    copy = coarse(report, Obligations(time_s=step_s))
    for before, after in ((report.report_time, copy.report_time), (report.valid_time, copy.valid_time)):
        assert 0 <= before.ToNanoseconds() - after.ToNanoseconds() < step_s * 10**9
        assert after.ToNanoseconds() % (step_s * 10**9) == 0
    order = report.valid_time.ToNanoseconds() <= report.report_time.ToNanoseconds()
    assert not order or copy.valid_time.ToNanoseconds() <= copy.report_time.ToNanoseconds()


def test_a_time_that_was_coarsened_by_another_node_is_not_made_less_certain_than_two_hours() -> None:
    once = coarse(reports.launch(), Obligations(time_s=3_600))
    once.clock_uncertainty.seconds = 3_601
    with pytest.raises(ObligationError, match="clock_uncertainty"):
        coarse(once, Obligations(time_s=3_600))


def test_a_copy_is_marked_anew_under_the_nodes_own_policy() -> None:
    report = reports.track(reports.envelope(node="KOR", caveats=["EYES-ONLY"]))
    report.marking.onward_release.extend(["AUS", "USA"])
    remark = Remark(Classification.CONFIDENTIAL, ("COARSE", "EYES-ONLY"), frozenset({"USA", "GBR"}))
    copy = coarse(report, Obligations(remark=remark))
    assert copy.marking == report_pb2.Marking(
        policy="JPN",
        classification=report_pb2.CLASSIFICATION_CONFIDENTIAL,
        releasable_to=["KOR", "USA"],
        caveats=["EYES-ONLY", "COARSE"],
        onward_release=["USA"],
    )
    assert named(copy) == [
        "marking.policy",
        "marking.classification",
        "marking.caveats",
        "marking.onward_release",
    ]


def test_a_remark_changes_only_what_it_names() -> None:
    report = reports.track(reports.envelope(caveats=["EYES-ONLY"]))
    copy = coarse(report, Obligations(remark=Remark(onward_release=frozenset())))
    assert copy.marking == report.marking
    assert named(copy) == ["marking.onward_release"]


def test_more_caveats_than_the_contract_allows_are_an_error() -> None:
    report = reports.track(reports.envelope(caveats=[f"C{number}" for number in range(16)]))
    assert coarse(report, Obligations(remark=Remark(add_caveats=("C3",)))).marking == report.marking
    with pytest.raises(ObligationError, match="17"):
        coarse(report, Obligations(remark=Remark(add_caveats=("C16",))))


def test_each_node_adds_its_derivation_to_those_before_up_to_eight() -> None:
    copy = reports.track()
    for _ in range(8):
        copy = coarse(copy, Obligations(velocity_mps=10.0), "KOR")
    assert [derivation.node for derivation in copy.derivations] == ["KOR"] * 8
    with pytest.raises(ObligationError, match="8 nodes"):
        coarse(copy, Obligations(velocity_mps=10.0), "KOR")


def test_the_names_of_stations_and_tracks_and_their_sequence_stay() -> None:
    copy = coarse(reports.track())
    untouched = ("report_id", "source_sequence", "originator_station", "event_id", "track.track_id")
    for path in (*untouched, "track.track_number", "precedence", "traffic_class", "threat.launch_area"):
        assert value_at(copy, path) == value_at(reports.track(), path)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Obligations(velocity_mps=0.0),
        lambda: Obligations(velocity_mps=math.nan),
        lambda: Obligations(velocity_mps=20_001.0),
        lambda: Obligations(time_s=0),
        lambda: Obligations(time_s=3_601),
    ],
)
def test_steps_out_of_range_are_refused(wrong: Callable[[], Obligations]) -> None:
    with pytest.raises(ObligationError, match="Write"):
        wrong()


def test_what_obligations_may_change_is_told_for_each_kind_and_the_fields_that_go() -> None:
    fields = fields_of_kind(("track.position.latitude_deg", "launch_detection.launch_time"), Kind.TRACK)
    assert changes(COARSE, Kind.TRACK, fields) == (
        "report_time",
        "marking.policy",
        "marking.classification",
        "marking.caveats",
        "marking.onward_release",
        "track.position.latitude_deg",
    )
    assert changes(NONE, Kind.TRACK, LEAVES) == ()


REMARKED = Obligations(remark=Remark(Classification.SECRET, ("A",), frozenset({"USA"})))


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (NONE, NONE, True),
        (COARSE, COARSE, True),
        (Obligations(Grid(1.0)), NONE, True),
        (NONE, Obligations(Grid(1.0)), False),
        (Obligations(Grid(2.0)), Obligations(Grid(1.0)), False),
        (Obligations(Rounding(1.0)), Obligations(Grid(1.0)), False),
        (Obligations(velocity_mps=200.0), Obligations(velocity_mps=100.0), False),
        (Obligations(time_s=120), Obligations(time_s=60), True),
        (Obligations(time_s=90), Obligations(time_s=60), False),
        (Obligations(time_s=60), Obligations(time_s=120), False),
        (NONE, Obligations(time_s=1), False),
        (REMARKED, NONE, False),
        (NONE, REMARKED, False),
        (Obligations(remark=Remark()), NONE, True),
        (Obligations(remark=Remark(add_caveats=("A",), onward_release=frozenset())), NONE, True),
        (Obligations(remark=Remark(Classification.TOP_SECRET, ("B", "A"), frozenset())), REMARKED, True),
        (Obligations(remark=Remark(Classification.RESTRICTED, ("A",), frozenset({"USA"}))), REMARKED, False),
        (Obligations(remark=Remark(Classification.SECRET, (), frozenset({"USA"}))), REMARKED, False),
        (Obligations(remark=Remark(Classification.SECRET, ("A",), None)), REMARKED, False),
        (Obligations(remark=Remark(Classification.SECRET, ("A",), frozenset({"KOR"}))), REMARKED, False),
    ],
)
def test_obligations_are_called_at_least_as_coarse_only_where_that_is_certain(
    new: Obligations, old: Obligations, expected: bool
) -> None:
    assert at_least_as_coarse(new, old) is expected


@given(any_report(), st.integers(1, 60), st.integers(1, 60))
def test_a_coarser_step_of_times_can_be_had_from_the_finer_one(
    report: report_pb2.Report, step: int, times: int
) -> None:
    fine = coarse(report, Obligations(time_s=step))
    direct, later = (coarse(each, Obligations(time_s=step * times)) for each in (report, fine))
    assert (direct.report_time, direct.valid_time) == (later.report_time, later.valid_time)
