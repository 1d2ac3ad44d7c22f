from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.geometry import SPEED
from gateway.reports.kinds import Kind
from gateway.reports.parse import canonical, parse_report
from gateway.reports.validate import WAITED_FOR_NS, clock_warning, early_ns, validate_released, validate_submitted
from gateway.reports.violations import Violation, refusal
from tests.reports.doors import HOUR, LIMITS, MADE, Example, released, submitted, time
from tests.reports.examples import (
    EXAMPLES,
    NODE,
    NOW,
    SECOND,
    all_clear,
    change,
    impact_prediction,
    launch_detection,
    report_id,
    track,
)
from tests.reports.strategies import reports


@pytest.mark.parametrize("kind", Kind)
def test_each_example_is_valid_at_both_doors(kind: Kind) -> None:
    for seed in range(20):
        assert submitted(EXAMPLES[kind](seed)) == []
        assert released(EXAMPLES[kind](seed)) == []


@given(reports())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_valid_report_is_taken_at_both_doors(report: report_pb2.Report) -> None:
    read = parse_report(canonical(report), LIMITS)
    assert validate_submitted(read, node=NODE, now=NOW, limits=LIMITS) == []
    assert validate_released(read, origin=NODE, limits=LIMITS) == []


@pytest.mark.parametrize(
    ("example", "field", "changes"),
    [
        (all_clear, "valid_time", time("valid_time", MADE + HOUR + 1)),
        (launch_detection, "launch_detection.launch_time", time("launch_detection__launch_time", MADE + HOUR + 1)),
        (
            impact_prediction,
            "impact_prediction.impact_time",
            time("impact_prediction__impact_time", MADE + 3 * HOUR + 1),
        ),
    ],
)
def test_times_that_no_coarsening_explains_are_refused_from_a_partner_too(
    example: Example, field: str, changes: dict[str, Any]
) -> None:
    assert released(example(**changes)) == [field]
    assert submitted(example(**changes)) == [field]


def test_a_partners_track_point_of_withheld_type_may_be_a_predicted_one() -> None:
    report = track(track__point_type=None, **time("valid_time", MADE + 2 * HOUR))
    assert released(report) == []
    assert submitted(report) == ["valid_time", "track.point_type"]


def test_everything_that_is_wrong_is_found_at_once() -> None:
    report = launch_detection(
        report_id="x",
        traffic_class=0,
        event_id="",
        marking__releasable_to=["KOR", "", "KOR"],
        launch_detection__launch_point__latitude_deg=91.0,
        launch_detection__launch_point__longitude_deg=None,
        launch_detection__certainty=99,
    )
    assert submitted(report) == [
        "report_id",
        "event_id",
        "traffic_class",
        "marking.releasable_to[1]",
        "marking.releasable_to[2]",
        "launch_detection.launch_point.latitude_deg",
        "launch_detection.launch_point.longitude_deg",
        "launch_detection.certainty",
    ]


def test_an_empty_report_lacks_the_whole_envelope_and_a_released_one_what_is_always_released() -> None:
    assert submitted(report_pb2.Report()) == [
        "originator_node",
        "report_id",
        "originator_station",
        "source_sequence",
        "event_id",
        "report_time",
        "valid_time",
        "clock_uncertainty",
        "traffic_class",
        "precedence",
        "marking",
        "threat",
        "content",
    ]
    assert released(report_pb2.Report()) == [
        "originator_node",
        "report_id",
        "report_time",
        "traffic_class",
        "precedence",
        "marking",
        "content",
    ]


def test_a_release_may_hold_no_more_than_what_is_always_released() -> None:
    report = report_pb2.Report(
        report_id=report_id(0),
        originator_node=NODE,
        traffic_class=report_pb2.TRAFFIC_CLASS_LIVE,
        precedence=report_pb2.PRECEDENCE_ROUTINE,
        marking=report_pb2.Marking(policy="JPN", classification=report_pb2.CLASSIFICATION_SECRET),
    )
    for kind in Kind:
        bare = change(report_pb2.Report.FromString(canonical(report)), **time("report_time", MADE))
        getattr(bare, kind.field).SetInParent()
        assert released(bare) == []


def test_the_originator_is_this_node_at_the_c2_door_and_the_owner_of_the_ledger_at_the_partners() -> None:
    report = track(originator_node="KOR")
    assert submitted(report) == ["originator_node"]
    assert validate_submitted(report, node="KOR", now=NOW, limits=LIMITS) == []
    assert validate_released(report, origin="KOR", limits=LIMITS) == []
    assert validate_released(report, origin="USA", limits=LIMITS) == [
        Violation(
            "originator_node",
            "is 'KOR', and the ledger that holds it is that of USA",
            "release a node's reports in its own ledgers",
        )
    ]


@pytest.mark.parametrize("field", ["originator_node", "threat__launch_country", "marking__releasable_to"])
def test_user_assigned_codes_stand_in_exercises_and_tests_and_never_in_live_traffic(field: str) -> None:
    named: dict[str, Any] = {field: ["XAA"] if field == "marking__releasable_to" else "XAA"}
    node = "XAA" if field == "originator_node" else NODE
    for traffic_class in (report_pb2.TRAFFIC_CLASS_EXERCISE, report_pb2.TRAFFIC_CLASS_TEST):
        report = track(traffic_class=traffic_class, **named)
        assert validate_submitted(report, node=node, now=NOW, limits=LIMITS) == []
    report = track(traffic_class=report_pb2.TRAFFIC_CLASS_LIVE, **named)
    assert len(validate_submitted(report, node=node, now=NOW, limits=LIMITS)) == 1


def test_a_report_older_than_the_limit_is_refused_at_the_c2_door_and_believed_from_a_partner() -> None:
    old = track(**time("report_time", NOW - HOUR), **time("valid_time", NOW - HOUR))
    assert submitted(old) == []
    older = track(**time("report_time", NOW - HOUR - 1), **time("valid_time", NOW - HOUR - 1))
    assert submitted(older) == ["report_time"]
    assert released(older) == []


def test_a_demonstration_may_replay_history() -> None:
    replay = track(**time("report_time", 10**18), **time("valid_time", 10**18))
    assert submitted(replay) == ["report_time"]
    assert submitted(replay, max_age=timedelta(days=36_500)) == []


@pytest.mark.parametrize("kind", Kind)
def test_of_what_recalls_reports_only_an_all_clear_can_be_too_old(kind: Kind) -> None:
    old = EXAMPLES[kind]()
    ages = 2 * HOUR
    for field in ("report_time", "valid_time"):
        old = change(old, **time(field, NOW - ages))
    names_what_it_recalls = kind in (Kind.CORRECTION, Kind.CANCELLATION)
    assert ("report_time" not in submitted(old)) is names_what_it_recalls


@pytest.mark.parametrize(
    ("ahead_ns", "flagged"),
    [
        (-SECOND, False),
        (0, False),
        (SECOND, False),
        (SECOND + 1, True),
        (5 * SECOND, True),
        (5 * SECOND + 1, True),
        (60 * SECOND, True),
        (60 * SECOND + 1, True),
    ],
)
def test_a_clock_that_runs_ahead_is_flagged_and_at_the_c2_door_its_reports_wait_and_are_refused_in_the_end(
    ahead_ns: int, flagged: bool
) -> None:
    report = track(**time("report_time", NOW + ahead_ns))
    assert (clock_warning(report, NOW, LIMITS) is not None) is flagged
    assert (submitted(report) == ["report_time"]) is (ahead_ns > WAITED_FOR_NS)
    assert early_ns(report, NOW, LIMITS) == ahead_ns - LIMITS.max_ahead_ns
    assert early_ns(report, NOW + ahead_ns - LIMITS.max_ahead_ns, LIMITS) == 0
    assert released(report) == []


def test_a_report_that_is_a_little_early_and_wrong_besides_is_told_of_both() -> None:
    early = track(**time("report_time", NOW + 6 * SECOND))
    assert submitted(early) == []
    assert submitted(change(early, originator_node="KOR")) == ["originator_node", "report_time"]


def test_who_allows_more_than_is_waited_for_refuses_what_is_beyond_that() -> None:
    early = track(**time("report_time", NOW + 90 * SECOND))
    assert submitted(early, max_ahead=timedelta(seconds=90)) == []
    assert submitted(early, max_ahead=timedelta(seconds=89)) == ["report_time"]


@pytest.mark.parametrize(("behind_ns", "flagged"), [(0, False), (60 * SECOND, False), (60 * SECOND + 1, True)])
def test_a_clock_that_is_slow_is_flagged_at_the_c2_door_alone(behind_ns: int, flagged: bool) -> None:
    late = track(**time("report_time", NOW - behind_ns), **time("valid_time", NOW - behind_ns))
    warning = clock_warning(late, NOW, LIMITS, submitted=True)
    assert (warning is not None) is flagged
    assert not flagged or "s behind this gateway's clock" in str(warning)
    # A partner that was offline is sent what is hours old.
    assert clock_warning(late, NOW, LIMITS) is None


@pytest.mark.parametrize("off_ns", [-2 * HOUR, 61 * SECOND, 10**17])
def test_a_gateway_that_does_not_trust_its_clock_refuses_no_report_for_its_time_and_flags_it(off_ns: int) -> None:
    report = track(**time("report_time", NOW + off_ns), **time("valid_time", NOW + off_ns))
    assert submitted(report) == ["report_time"]
    assert validate_submitted(report, node="JPN", now=NOW, limits=LIMITS, clock_trusted=False) == []
    assert clock_warning(report, NOW, LIMITS, submitted=True) is not None
    broken = track(**time("report_time", NOW + off_ns), **time("valid_time", NOW + off_ns + 1))
    assert validate_submitted(broken, node="JPN", now=NOW, limits=LIMITS, clock_trusted=False) != []


def test_the_flag_names_the_report_and_the_offset_and_not_the_station_which_may_have_to_stay_at_home() -> None:
    assert clock_warning(track(**time("report_time", NOW + 2_500_000_000)), NOW, LIMITS) == (
        f"report_time of {report_id(0)} from JPN is 2026-05-01T03:00:02.500000000Z, 2.5 s ahead of this"
        " gateway's clock: synchronise the clock of the system that made the report"
    )


@pytest.mark.parametrize(
    ("example", "changes", "problem", "remedy"),
    [
        (
            launch_detection,
            {"launch_detection__launch_point__latitude_deg": 91.0},
            "is 91.0, which is above 90",
            "send degrees north, -90 to 90",
        ),
        (
            launch_detection,
            {"launch_detection__initial_azimuth_deg": 360.0},
            "is 360.0, which is not below 360",
            "send degrees clockwise from true north, 0 to below 360",
        ),
        (
            launch_detection,
            {"launch_detection__launch_point_error__semi_major_m": 0.0},
            "is 0.0, which is not above 0",
            "send metres, above 0 and at most 20,000,000",
        ),
        (track, {"track__velocity__x_mps": -20_001.0}, "is -20001.0, which is below -20000", SPEED.remedy),
        (
            track,
            {"track__position__height_m": float("-inf")},
            "is -inf, which is not a finite number",
            "send metres above the WGS-84 ellipsoid, -12,000 to 50,000,000",
        ),
        (
            track,
            {"track__status": 99},
            "is 99, which TrackStatus does not define",
            "send one of TRACK_STATUS_INITIATING, TRACK_STATUS_MAINTAINING, TRACK_STATUS_DROPPING,"
            " TRACK_STATUS_TERMINATED",
        ),
        (track, {"track__quality": None}, "is not set", "send a track quality from 0 to 15"),
        (
            track,
            {"event_id": "\x1b[2J" + "x" * 100},
            "is '\\x1b[2J" + "x" * 44 + "' and 56 characters more, which is not a name",
            'send 1 to 64 characters of A-Z, a-z, 0-9, ".", "_", "-" and "/"',
        ),
        (
            track,
            time("valid_time", MADE + 1_500_000_000),
            "is 2026-05-01T03:00:01.300000000Z, 1.5 s after the report time",
            "send a time that is not after report_time",
        ),
        (
            impact_prediction,
            time("impact_prediction__impact_time", MADE + 10_000 * SECOND),
            "is 2026-05-01T05:46:39.800000000Z, 10,000 s after the report time",
            "send a time that is at most 7,200 s after report_time",
        ),
        (
            all_clear,
            {"all_clear__explanation": "over\x07"},
            "holds the control character U+0007 at character 5",
            "send plain text on one line",
        ),
    ],
)
def test_a_violation_says_what_is_wrong_and_how_to_mend_it(
    example: Example, changes: dict[str, Any], problem: str, remedy: str
) -> None:
    (violation,) = validate_submitted(example(**changes), node=NODE, now=NOW, limits=LIMITS)
    assert (violation.problem, violation.remedy) == (problem, remedy)
    assert str(violation) == f"{violation.field} {problem}: {remedy}"


def test_a_refusal_carries_every_violation_to_the_c2_system() -> None:
    found = validate_submitted(track(report_id="", event_id=""), node=NODE, now=NOW, limits=LIMITS)
    refused = refusal(c2_pb2.REFUSAL_CODE_INVALID, found)
    assert refused.code == c2_pb2.REFUSAL_CODE_INVALID
    assert [(each.field, each.problem, each.remedy) for each in refused.violations] == [
        (each.field, each.problem, each.remedy) for each in found
    ]


def test_judging_a_report_does_not_change_it() -> None:
    for kind in Kind:
        report = EXAMPLES[kind]()
        submitted(report)
        released(report)
        assert canonical(report) == canonical(EXAMPLES[kind]())
    empty = report_pb2.Report()
    submitted(empty)
    assert canonical(empty) == b""
